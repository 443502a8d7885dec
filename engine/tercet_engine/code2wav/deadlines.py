"""Which turns go into the next step: earliest playout deadline first, as pure functions.

Called by the code2wav stage with the windows that could be decoded now. Knows neither torch nor clocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

RELAXED_S: Final = 2.0
"""A stream whose listener has more than this in its buffer waits while another stream is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A window that could be decoded now: when it is due, and how many blocks it computes."""

    due_at: float
    blocks: int


def deadline(*, begin_at: float, due_s: float, first_sent_at: float | None, sent_s: float) -> float:
    """When the listener runs dry; before the first sound, when that was promised."""
    return begin_at + due_s if first_sent_at is None else first_sent_at + sent_s


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """Most blocks in a step.

    `in_time` keeps steps short, so that a new turn is soon begun; `late` is for when listeners already wait
    and only sound a second counts, which full steps make more of.
    """

    in_time: int
    late: int


def choose_batch(candidates: Sequence[Candidate], *, now: float, limits: BatchLimits) -> list[int]:
    """Indices of the candidates to decode together, most urgent first.

    The most urgent is always in, whatever it costs; others join in order of their deadlines as long as the
    limit holds, except relaxed ones beside one that is not.
    """
    chosen: list[int] = []
    blocks = 0
    most_blocks = limits.late if any(each.due_at < now for each in candidates) else limits.in_time
    for index in sorted(range(len(candidates)), key=lambda index: candidates[index].due_at):
        candidate = candidates[index]
        if chosen and blocks + candidate.blocks > most_blocks:
            continue
        if chosen and _is_relaxed(candidate, now) and not _is_relaxed(candidates[chosen[0]], now):
            break
        chosen.append(index)
        blocks += candidate.blocks
    return chosen


def _is_relaxed(candidate: Candidate, now: float) -> bool:
    return candidate.due_at - now > RELAXED_S
