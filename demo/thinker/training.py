"""Trains the thinker on conversations, and writes down the states that it hands the talker."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from tercet_engine.checkpoint import Checkpoint
from torch import Tensor
from torch.nn import functional

from demo.conversations.scenes import Conversation
from demo.thinker.lessons import Batch, stream_batches
from demo.thinker.model import ThinkerNet
from demo.training import Recipe, train
from demo.voice import states

_EVENNESS: Final = 1e-4


def train_thinker(
    config: Any, checkpoint: Checkpoint, folder: Path, *, device: torch.device, seconds: float, batch: int
) -> dict[str, Tensor]:
    net = ThinkerNet(config).to(device).train()
    batches = stream_batches(checkpoint, folder, batch=batch, seed=1)

    def measure(progress: float) -> dict[str, Tensor]:
        del progress
        lesson = next(batches).to(device)
        with torch.autocast(device.type, torch.bfloat16, device.type == "cuda"):
            logits, targets = net.score(lesson)
        logits = logits.float()
        loss = functional.cross_entropy(logits, targets)
        with torch.no_grad():
            right = (logits.argmax(-1) == targets).float().mean()
        return {"loss": loss + _EVENNESS * logits.logsumexp(-1).square().mean(), "tokens": loss, "right": right}

    recipe = Recipe(seconds=seconds, rate=1.5e-3, decay=0.05)
    return train("thinker", net, folder, recipe, measure)


@torch.no_grad()
def note_states(
    config: Any,
    weights: dict[str, Tensor],
    conversations: Sequence[Conversation],
    batches: Iterator[Batch],
    device: torch.device,
) -> Iterator[states.Lesson]:
    """What the talker is given in each of the conversations, the reply being the right one."""
    net = ThinkerNet(config).to(device).eval()
    net.load_state_dict(weights)
    talks = iter(conversations)
    for batch in batches:
        hidden, texts = net(batch.to(device))
        prompts = (batch.targets >= 0).int().argmax(1) + 1
        for row, prompt, positions in zip(
            (hidden + texts).half().cpu(), prompts.tolist(), batch.positions.unbind(1), strict=True
        ):
            reply = next(talks).reply
            yield states.Lesson(
                text=reply,
                prompt=row[:prompt].clone(),
                positions=positions[:, :prompt].int().clone(),
                next_position=int(positions[0, prompt]),
                reply=row[prompt : prompt + len(reply.encode())].clone(),
            )
