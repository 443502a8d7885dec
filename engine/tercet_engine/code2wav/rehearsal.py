"""What steps cost on this machine, measured before a stage serves.

Called when the stage is loaded. Whoever comes to a stage that knows nothing is played, and so would be all
who come at once, however slow it is. The first turn does not pay for what is done only once, either.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from tercet_wire.settings import WindowSettings

from tercet_engine.code2wav.admission import StepCost
from tercet_engine.code2wav.dit import Segment
from tercet_engine.code2wav.model import SpeechModel
from tercet_engine.code2wav.vocoder import Stretch
from tercet_engine.code2wav.windows import BLOCK_CODES, BLOCK_FRAMES

_TRIALS: Final = 2
"""The least of some: other stages load meanwhile."""


def rehearse(
    model: SpeechModel,
    settings: WindowSettings,
    most_blocks: int,
    clock: Callable[[], float] = time.perf_counter,
) -> StepCost:
    """Of steps of one block and of most, from the middle of a turn; counts no more than two of the stage's.

    On the calling thread, whose count of cores should be the stage's.
    """
    cost = StepCost()
    past = _make(model, settings, [_build_segment(model, None)])
    for blocks in (1, most_blocks):
        make = partial(_make, model, settings, [_build_segment(model, past)] * blocks)
        make()  # what is done only once
        cost.observe(blocks, min(_time(make, clock) for _ in range(_TRIALS)))
    return cost


def _build_segment(model: SpeechModel, past: torch.Tensor | None) -> Segment:
    """A block in the first voice that there is, of any codes: all cost the same."""
    return Segment(
        codes=(0,) * BLOCK_CODES,
        noise=torch.zeros(BLOCK_FRAMES, model.dit.mel_dim),
        voice=next(iter(model.voices.values())),
        past=past,
        final_blocks=1,
    )


def _make(model: SpeechModel, settings: WindowSettings, segments: list[Segment]) -> torch.Tensor | None:
    """The sound of one step, which nobody hears; returns what a next window goes on from."""
    decoded = model.dit.decode(segments, settings.solver, settings.points)
    overlap = settings.overlap_frames
    model.vocoder.render(
        [
            Stretch(
                mel=each.mel.new_zeros(BLOCK_FRAMES + 2 * overlap, each.mel.shape[1]),
                left=overlap,
                right=overlap,
            )
            for each in decoded
        ]
    )
    return decoded[0].past


def _time(make: Callable[[], object], clock: Callable[[], float]) -> float:
    began_at = clock()
    make()
    return clock() - began_at
