"""One step of code2wav: the chosen windows of several turns through both networks.

Called by the stage's loop. Changes no turn, so that a step that failed can be tried again turn by turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from tercet_engine.code2wav.dit import Decoded
from tercet_engine.code2wav.model import SpeechModel
from tercet_engine.code2wav.turn import SpeechTurn
from tercet_engine.code2wav.vocoder import Rendered
from tercet_engine.code2wav.windows import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    turn: SpeechTurn
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """None where the window had nothing to decode or to render."""

    decoded: Decoded | None
    rendered: Rendered | None


def run_step(model: SpeechModel, jobs: Sequence[Job]) -> list[Made]:
    """What each job made, in their order."""
    decoded = _decode(model, jobs)
    stretches = {
        index: stretch
        for index, job in enumerate(jobs)
        if (stretch := job.turn.stretch(job.window, decoded.get(index)))
    }
    rendered = dict(zip(stretches, model.vocoder.render(list(stretches.values())), strict=True))
    return [Made(decoded=decoded.get(index), rendered=rendered.get(index)) for index in range(len(jobs))]


def _decode(model: SpeechModel, jobs: Sequence[Job]) -> dict[int, Decoded]:
    """By index. Windows that share a schedule are decoded together."""
    segments = {index: segment for index, job in enumerate(jobs) if (segment := job.turn.segment(job.window))}
    decoded: dict[int, Decoded] = {}

    def schedule(index: int) -> tuple[str, int]:
        window = jobs[index].turn.window_settings
        return window.solver, window.points

    for _, group in groupby(sorted(segments, key=schedule), schedule):
        indices = list(group)
        window = jobs[indices[0]].turn.window_settings
        results = model.dit.decode([segments[index] for index in indices], window.solver, window.points)
        decoded.update(zip(indices, results, strict=True))
    return decoded
