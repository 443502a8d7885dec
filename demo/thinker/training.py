"""Trains the thinker on conversations without end."""

from pathlib import Path
from random import Random
from typing import Any, Final
from zlib import crc32

import torch
from tercet_engine.checkpoint import Checkpoint
from torch import Tensor, nn
from torch.nn import functional

from demo.attention import choose_attention
from demo.conversations.conversing import Kind, draw_alike, draw_repeated
from demo.thinker.concepts import NamingHead
from demo.thinker.lessons import Draw, stream_batches
from demo.thinker.model import ThinkerNet, strengthen_states, weaken_states
from demo.training import Recipe, in_16_bits, train

_EVENNESS: Final = 1e-4
_NAMING: Final = 0.1
"""Not for a thinker that is trained already: its naming head is gone, and a new one leads the encoders astray
(videos fell from 94.5 to 91.0 % right while all else rose).
"""
_LESSONS: Final[dict[str, tuple[Kind, Draw | None, float]]] = {
    "text": ("text", None, 6.0),
    "repeating": ("text", draw_repeated, 2.0),
    "repeating alike": ("text", draw_alike, 3.0),
    "picture": ("picture", None, 4.0),
    "sound": ("sound", None, 3.0),
    "video": ("video", None, 3.0),
}
"""Kind, what is drawn, and how often each comes: text most, since reading is what all need, and half of that
sentences to repeat, the one thing in it that is learned letter by letter.
"""
_FURTHER_SHARE: Final = 0.1
"""Of the rates, for one that is trained already."""


def train_thinker(
    config: Any,
    checkpoint: Checkpoint,
    folder: Path,
    *,
    device: torch.device,
    seconds: float,
    rows: int,
    encoders: dict[str, Tensor],
    begin: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """`encoders`: the weights that they begin with.

    `begin`: what an earlier training made, whose decoder goes on from there.
    """
    # On Hopper, SDPA's first choice compiles itself anew for every new shape, and every batch has one.
    torch.backends.cuda.enable_cudnn_sdp(False)
    thinker = ThinkerNet(config, choose_attention(device))
    if begin is not None:
        strengthen_states(begin)
        thinker.load_state_dict(begin)
    thinker.load_state_dict(encoders, strict=False)
    pupil = _Pupil(thinker).to(device).train()
    is_first = begin is None
    share = 1.0 if is_first else _FURTHER_SHARE
    seed = 1 if begin is None else _draw_seed(begin)
    streams = {
        name: stream_batches(checkpoint, folder, kind, draw=draw, rows=rows, seed=seed)
        for name, (kind, draw, _) in _LESSONS.items()
    }
    shares = [often for _, _, often in _LESSONS.values()]
    random = Random(seed)

    def measure(progress: float) -> dict[str, Tensor]:
        del progress
        (name,) = random.choices(list(_LESSONS), shares)
        lesson = next(streams[name]).to(device)
        with in_16_bits(device):
            perceived = pupil.thinker.perceive(lesson)
            naming = _NAMING * pupil.naming(perceived, lesson.concepts) if is_first else None
            logits, targets = pupil.thinker.reply(lesson, perceived)
        logits = logits.float()
        loss = functional.cross_entropy(logits, targets)
        with torch.no_grad():
            right = (logits.argmax(-1) == targets).float().mean()
        return {
            "loss": loss
            + _EVENNESS * logits.logsumexp(-1).square().mean()
            + (0 if naming is None else naming),
            "tokens": loss,
            f"{name} right": right,
            **({} if naming is None or _LESSONS[name][0] == "text" else {f"{name} naming": naming}),
        }

    recipe = Recipe(seconds=seconds, rate=share * 1e-3, matrix_rate=share * 3e-3, decay=0.05)
    weights = {
        name: value.float() for name, value in train("thinker", pupil, folder, recipe, measure).items()
    }
    made = {
        name.removeprefix("thinker."): value for name, value in weights.items() if name.startswith("thinker.")
    }
    weaken_states(made)
    return made


def _draw_seed(weights: dict[str, Tensor]) -> int:
    """Another one for each thinker that goes on, so that it meets other lessons than those it had."""
    return crc32(weights["model.norm.weight"].numpy().tobytes())


class _Pupil(nn.Module):
    """The thinker, and the head by which its encoders go on naming in its first training."""

    def __init__(self, thinker: ThinkerNet) -> None:
        super().__init__()
        self.thinker = thinker
        self.naming = NamingHead(thinker.model.config.hidden_size)
