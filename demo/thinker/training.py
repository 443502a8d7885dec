"""Trains the thinker on conversations without end."""

from pathlib import Path
from typing import Any, Final

import torch
from tercet_engine.checkpoint import Checkpoint
from torch import Tensor
from torch.nn import functional

from demo.thinker.lessons import stream_batches
from demo.thinker.model import ThinkerNet, weaken_states
from demo.training import Recipe, train

_EVENNESS: Final = 1e-4


def train_thinker(
    config: Any, checkpoint: Checkpoint, folder: Path, *, device: torch.device, seconds: float, batch: int
) -> dict[str, Tensor]:
    # On Hopper, SDPA's first choice compiles itself anew for every new shape, and every batch has one.
    torch.backends.cuda.enable_cudnn_sdp(False)
    net = ThinkerNet(config).to(device).train()
    batches = stream_batches(checkpoint, folder, batch=batch, seed=1)

    def measure(progress: float) -> dict[str, Tensor]:
        del progress
        lesson = next(batches).to(device)
        with torch.autocast(device.type, torch.bfloat16, device.type == "cuda"):
            logits, targets = net(lesson)
        logits = logits.float()
        loss = functional.cross_entropy(logits, targets)
        with torch.no_grad():
            right = (logits.argmax(-1) == targets).float().mean()
        return {
            "loss": loss + _EVENNESS * logits.logsumexp(-1).square().mean(),
            "tokens": loss,
            "right": right,
        }

    recipe = Recipe(seconds=seconds, rate=1.5e-3, decay=0.05)
    weights = {name: value.float() for name, value in train("thinker", net, folder, recipe, measure).items()}
    weaken_states(weights)
    return weights
