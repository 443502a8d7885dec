"""Trains the thinker on conversations without end."""

from pathlib import Path
from random import Random
from typing import Any, Final, get_args

import torch
from tercet_engine.checkpoint import Checkpoint
from torch import Tensor, nn
from torch.nn import functional

from demo.attention import choose_attention
from demo.conversations.conversing import Kind
from demo.thinker.concepts import COUNT
from demo.thinker.lessons import stream_batches
from demo.thinker.model import ThinkerNet, strengthen_states, weaken_states
from demo.training import Recipe, in_16_bits, train

_EVENNESS: Final = 1e-4
_NAMING: Final = 0.1


_FIRST: Final[dict[Kind, float]] = {"text": 12.0, "picture": 6.0, "sound": 4.0, "video": 3.0}
_LAST: Final[dict[Kind, float]] = {"text": 8.0, "picture": 5.0, "sound": 4.0, "video": 3.0}
_SETTLED: Final = 0.6
"""Of the training. The earlier before, the more often encoders learn to name without the decoder, which costs
less; from then on batches are shared out as at the end.
"""


def _share_out(progress: float) -> dict[Kind, float]:
    """How often each kind comes: reading is learned first, which costs least and all others need."""
    late = min(1.0, progress / _SETTLED)
    return {kind: _FIRST[kind] + late * (_LAST[kind] - _FIRST[kind]) for kind in _FIRST}


def train_thinker(
    config: Any,
    checkpoint: Checkpoint,
    folder: Path,
    *,
    device: torch.device,
    seconds: float,
    rows: int,
    begin: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """`begin`: what an earlier training made, to go on from there at a lower rate."""
    # On Hopper, SDPA's first choice compiles itself anew for every new shape, and every batch has one.
    torch.backends.cuda.enable_cudnn_sdp(False)
    thinker = ThinkerNet(config, choose_attention(device))
    if begin is not None:
        strengthen_states(begin)
        thinker.load_state_dict(begin)
    pupil = _Pupil(thinker).to(device).train()
    streams = {kind: stream_batches(checkpoint, folder, kind, rows=rows, seed=1) for kind in get_args(Kind)}
    random = Random(1)

    def measure(progress: float) -> dict[str, Tensor]:
        shares = _share_out(progress)
        (kind,) = random.choices(list(shares), list(shares.values()))
        lesson = next(streams[kind]).to(device)
        with in_16_bits(device):
            perceived = pupil.thinker.perceive(lesson)
            naming = _NAMING * pupil.judge_names(perceived, lesson.concepts)
            if kind != "text" and random.random() > progress / _SETTLED:
                return {"loss": naming, f"{kind} naming": naming}
            logits, targets = pupil.thinker.reply(lesson, perceived)
        logits = logits.float()
        loss = functional.cross_entropy(logits, targets)
        with torch.no_grad():
            right = (logits.argmax(-1) == targets).float().mean()
        return {
            "loss": loss + _EVENNESS * logits.logsumexp(-1).square().mean() + naming,
            "tokens": loss,
            f"{kind} right": right,
            **({} if kind == "text" else {f"{kind} naming": naming}),
        }

    recipe = Recipe(seconds=seconds, rate=1.5e-3 if begin is None else 7e-4, decay=0.05)
    weights = {
        name: value.float() for name, value in train("thinker", pupil, folder, recipe, measure).items()
    }
    made = {
        name.removeprefix("thinker."): value for name, value in weights.items() if name.startswith("thinker.")
    }
    weaken_states(made)
    return made


class _Pupil(nn.Module):
    """The thinker, and the head by which its encoders have to name what they see and hear."""

    def __init__(self, thinker: ThinkerNet) -> None:
        super().__init__()
        self.thinker = thinker
        self.naming = nn.Linear(thinker.model.config.hidden_size, COUNT)

    def judge_names(self, perceived: list[Tensor], concepts: Tensor) -> Tensor:
        """Mean over what was perceived, (rows, hidden) each, of the cross entropy of all its concepts."""
        if not perceived:
            return concepts.sum()
        named = self.naming(torch.stack([features.mean(0) for features in perceived]))
        loss = functional.binary_cross_entropy_with_logits(named.float(), concepts, reduction="sum")
        return loss / len(perceived)
