"""The encoders learn to name what they see and hear, before a decoder reads what they make of it.

Without the decoder this takes a tenth of the time, and the decoder alone had not taught them a color in
2,600 steps.
"""

from pathlib import Path
from random import Random
from typing import Any, Final

import torch
from tercet_engine.checkpoint import Checkpoint
from torch import Tensor, nn

from demo.conversations.conversing import Kind
from demo.thinker.concepts import NamingHead
from demo.thinker.lessons import Batch, stream_batches
from demo.thinker.model import ThinkerNet
from demo.training import Recipe, in_16_bits, train

ENCODERS: Final = ("audio_tower.", "visual.")
"""What their weights' names begin with."""
_SHARES: Final[dict[Kind, float]] = {"picture": 2.0, "video": 2.0, "sound": 1.0}


class _Namer(nn.Module):
    def __init__(self, thinker: ThinkerNet, hidden: int) -> None:
        super().__init__()
        self.audio_tower, self.visual = thinker.audio_tower, thinker.visual
        self.naming = NamingHead(hidden)


def train_encoders(
    config: Any, checkpoint: Checkpoint, folder: Path, *, device: torch.device, seconds: float, rows: int
) -> dict[str, Tensor]:
    """Named as `ThinkerNet` names them, and the weights of the head."""
    thinker = ThinkerNet(config)
    namer = _Namer(thinker, config.text_config.hidden_size).to(device).train()
    streams = {kind: stream_batches(checkpoint, folder, kind, rows=rows, seed=2) for kind in _SHARES}
    random = Random(2)

    def measure(progress: float) -> dict[str, Tensor]:
        del progress
        (kind,) = random.choices(list(_SHARES), list(_SHARES.values()))
        lesson: Batch = next(streams[kind]).to(device)
        with in_16_bits(device):
            loss = namer.naming(thinker.perceive(lesson), lesson.concepts)
        return {"loss": loss, f"{kind} naming": loss}

    recipe = Recipe(seconds=seconds, rate=1e-3, matrix_rate=5e-3, decay=0.05)
    return train("encoders", namer, folder, recipe, measure)
