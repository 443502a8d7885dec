"""Token ids and TMRoPE positions of a prompt, grown together run by run.

Used by `prompts` only. A position has three rows (time, height, width). Text and sound count up in all three;
a picture's patches share one time; a video's frames stand as far apart as they were filmed, and its sound is
woven between them two seconds at a time. Pure numpy: knows no model and no processor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Positions = NDArray[np.int32]

_ROWS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Patches of a picture or video after merging; `times` has the position of each pair of frames."""

    times: NDArray[np.int32]
    height: int
    width: int

    def positions(self) -> Positions:  # (3, times * height * width)
        """Counted from the grid's start."""
        axes = np.meshgrid(self.times, np.arange(self.height), np.arange(self.width), indexing="ij")
        rows: Positions = np.stack([axis.ravel() for axis in axes]).astype(np.int32)
        return rows


def frame_times(pairs: int, seconds_per_pair: float, positions_per_s: int) -> NDArray[np.int32]:
    """In single precision, as the model computes them: a rounding apart would shift a whole frame."""
    seconds = np.arange(pairs, dtype=np.float32) * np.float32(seconds_per_pair)
    return (seconds * np.float32(positions_per_s)).astype(np.int32)


def cut_by_time(times: NDArray[np.int32], span: int) -> list[slice]:
    """Cut ascending times where they reach one span, two spans, and so on.

    A jump over several spans is one cut and counts as one span, as in the reference model.
    """
    cuts = [0]
    for index, time in enumerate(times):
        if time >= span * len(cuts):
            cuts.append(index)
    return [slice(start, end) for start, end in zip(cuts, [*cuts[1:], len(times)], strict=True)]


@dataclass(slots=True)
class PromptLayout:
    """`next_start` is where the next run begins; `end` is one past the largest position so far."""

    next_start: int = 0
    end: int = 0
    _ids: list[Ids] = field(default_factory=list)
    _positions: list[Positions] = field(default_factory=list)

    def add_run(self, ids: Sequence[int]) -> None:
        """Text, or the tokens of a sound."""
        steps = np.broadcast_to(np.arange(len(ids), dtype=np.int32), (_ROWS, len(ids)))
        self._add(np.asarray(ids, np.int64), steps + self.next_start)

    def add_grid(self, token: int, grid: Grid) -> None:
        positions = grid.positions()
        self._add(np.full(positions.shape[1], token), positions + self.next_start)

    def add_woven(self, *, grid: Grid, sound: int, tokens: tuple[int, int], span: int) -> None:
        """A video's patches and its `sound` tokens in turns of `span` positions; `tokens` are their ids."""
        patches = grid.positions()
        steps = np.broadcast_to(np.arange(sound, dtype=np.int32), (_ROWS, sound))
        start = self.next_start
        cuts = [cut_by_time(patches[0], span), cut_by_time(steps[0], span)]
        for turn in range(max(map(len, cuts))):
            for token, positions, slices in zip(tokens, (patches, steps), cuts, strict=True):
                if turn < len(slices):
                    part = positions[:, slices[turn]]
                    self._add(np.full(part.shape[1], token), part + start)

    def hold(self) -> None:
        """The next token stands where the last one does."""
        self.next_start -= 1

    def ids(self) -> Ids:
        return np.concatenate(self._ids)

    def positions(self) -> Positions:
        return np.concatenate(self._positions, axis=1)

    def _add(self, ids: Ids, positions: Positions) -> None:
        if not len(ids):
            return
        self._ids.append(ids)
        self._positions.append(positions)
        # The reference goes on after the last run's largest position, even if an earlier one reached further.
        self.next_start = int(positions.max()) + 1
        self.end = max(self.end, self.next_start)
