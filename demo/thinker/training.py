"""Trains the thinker on conversations without end."""

from pathlib import Path
from random import Random
from typing import Any, Final, get_args

import torch
from tercet_engine.checkpoint import Checkpoint
from torch import Tensor
from torch.nn import functional

from demo.attention import choose_attention
from demo.conversations.conversing import Kind
from demo.thinker.lessons import stream_batches
from demo.thinker.model import ThinkerNet, weaken_states
from demo.training import Recipe, in_16_bits, train

_EVENNESS: Final = 1e-4


_FIRST: Final[dict[Kind, float]] = {"text": 20.0, "picture": 3.0, "sound": 3.0, "video": 1.0}
_LAST: Final[dict[Kind, float]] = {"text": 9.0, "picture": 4.0, "sound": 4.0, "video": 3.0}
_SETTLED: Final = 0.6
"""Of the training, from then on batches are shared out as at its end."""


def _share_out(progress: float) -> dict[Kind, float]:
    """How often each kind comes: reading is learned first, which costs least and all others need."""
    late = min(1.0, progress / _SETTLED)
    return {kind: _FIRST[kind] + late * (_LAST[kind] - _FIRST[kind]) for kind in _FIRST}


def train_thinker(
    config: Any, checkpoint: Checkpoint, folder: Path, *, device: torch.device, seconds: float, rows: int
) -> dict[str, Tensor]:
    # On Hopper, SDPA's first choice compiles itself anew for every new shape, and every batch has one.
    torch.backends.cuda.enable_cudnn_sdp(False)
    net = ThinkerNet(config, choose_attention(device)).to(device).train()
    streams = {kind: stream_batches(checkpoint, folder, kind, rows=rows, seed=1) for kind in get_args(Kind)}
    random = Random(1)

    def measure(progress: float) -> dict[str, Tensor]:
        shares = _share_out(progress)
        (kind,) = random.choices(list(shares), list(shares.values()))
        lesson = next(streams[kind]).to(device)
        with in_16_bits(device):
            logits, targets = net(lesson)
        logits = logits.float()
        loss = functional.cross_entropy(logits, targets)
        with torch.no_grad():
            right = (logits.argmax(-1) == targets).float().mean()
        return {
            "loss": loss + _EVENNESS * logits.logsumexp(-1).square().mean(),
            "tokens": loss,
            f"{kind} right": right,
        }

    recipe = Recipe(seconds=seconds, rate=1.5e-3, decay=0.05)
    weights = {name: value.float() for name, value in train("thinker", net, folder, recipe, measure).items()}
    weaken_states(weights)
    return weights
