"""How the windows of several turns lie in one batch: every block of every window is a row.

`dit` computes on rows, whatever turn they belong to; only its few look-back and look-ahead layers need to
know the neighbours, which this module finds. A row that is not full is padded and masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tercet_engine.code2wav.windows import BLOCK_FRAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """One window: its frames, whether the block before it is known, and how many of its blocks are final."""

    frames: int
    has_past: bool
    final_blocks: int

    @property
    def blocks(self) -> int:
        return -(-self.frames // BLOCK_FRAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The layout of a batch.

    `before`, `after`: for each row, the row beside it, or None if no row has one. Numbers from `count` on
    mean the known past of a window, in the order of the windows that have one; a row without a neighbour
    names itself and is masked. `kept`: the row of each window's last final block, for windows with one.
    `masks[before, after]` (2 * rows, 1, 1, keys): the keys that count when those neighbours are seen, None
    for all; twice, for the conditioned and the unconditioned pass. `reach` (count, 4) on the CPU: for each
    row, as numbers or -1, the row before, the row after, its frames, and which of the kept it is.
    """

    width: int
    count: int
    spans: tuple[range, ...]
    kept: torch.Tensor
    before: torch.Tensor | None
    after: torch.Tensor | None
    masks: dict[tuple[bool, bool], torch.Tensor | None]
    reach: torch.Tensor

    @property
    def lines(self) -> int:
        """Frames of all rows in both passes."""
        return 2 * self.count * self.width

    def lay_out(self, sequences: Sequence[torch.Tensor]) -> torch.Tensor:
        """(frames, n) of each window -> (rows, width, n), padded with zeros."""
        size = self.count * self.width
        laid = sequences[0].new_zeros(size, sequences[0].shape[1])
        for span, sequence in zip(self.spans, sequences, strict=True):
            laid[span.start * self.width :][: len(sequence)] = sequence
        return laid.view(self.count, self.width, -1)

    def gather(self, laid: torch.Tensor, extents: Sequence[Extent]) -> list[torch.Tensor]:
        """The way back; each result has its own memory, so that it does not hold the batch's."""
        return [
            laid[span.start : span.stop].flatten(0, 1)[: extent.frames].clone()
            for span, extent in zip(self.spans, extents, strict=True)
        ]


def build_rows(extents: Sequence[Extent], device: torch.device, count: int | None = None) -> Rows:
    """With `count`, of a fixed shape: as many rows, all of full width, the last ones of nobody's window."""
    is_fixed = count is not None
    spans = _lay_out_spans(extents)
    used = spans[-1].stop if spans else 0
    count = used if count is None else count
    alone = not is_fixed and all(extent.blocks == 1 and not extent.has_past for extent in extents)
    width = max(extent.frames for extent in extents) if alone else BLOCK_FRAMES
    frames = [
        min(width, extent.frames - block * BLOCK_FRAMES)
        for extent in extents
        for block in range(extent.blocks)
    ]
    frames += [width] * (count - used)
    valid = torch.arange(width) < torch.tensor(frames)[:, None]  # (rows, width)
    before, has_before = _find_before(spans, extents, count)
    after, has_after = _find_after(spans, count)
    parts = [has_before[:, None].expand(valid.shape), valid, valid[after] & has_after[:, None]]
    kept = [
        span.start + extent.final_blocks - 1
        for span, extent in zip(spans, extents, strict=True)
        if extent.final_blocks
    ]
    return Rows(
        width=width,
        count=count,
        spans=tuple(spans),
        kept=torch.tensor(kept, dtype=torch.long, device=device),
        before=None if alone else before.to(device),
        after=None if alone else after.to(device),
        masks=_build_masks(parts, device, always=is_fixed),
        reach=_list_reach(before.where(has_before, -1), after.where(has_after, -1), frames, kept),
    )


def _list_reach(
    before: torch.Tensor, after: torch.Tensor, frames: Sequence[int], kept: Sequence[int]
) -> torch.Tensor:
    keeps = torch.full_like(before, -1)
    keeps[kept] = torch.arange(len(kept))
    return torch.stack([before, after, torch.tensor(frames, dtype=torch.long), keeps], 1)


def _lay_out_spans(extents: Sequence[Extent]) -> list[range]:
    spans: list[range] = []
    for extent in extents:
        start = spans[-1].stop if spans else 0
        spans.append(range(start, start + extent.blocks))
    return spans


def _find_before(
    spans: Sequence[range], extents: Sequence[Extent], count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    index = (torch.arange(count) - 1).clamp(min=0)
    exists = torch.ones(count, dtype=torch.bool)
    pasts = 0
    for span, extent in zip(spans, extents, strict=True):
        exists[span.start] = extent.has_past
        index[span.start] = count + pasts if extent.has_past else span.start
        pasts += extent.has_past
    return index, exists


def _find_after(spans: Sequence[range], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    index = (torch.arange(count) + 1).clamp(max=count - 1)
    exists = torch.ones(count, dtype=torch.bool)
    for span in spans:
        exists[span.stop - 1] = False
        index[span.stop - 1] = span.stop - 1
    return index, exists


def _build_masks(
    parts: list[torch.Tensor], device: torch.device, *, always: bool
) -> dict[tuple[bool, bool], torch.Tensor | None]:
    """None where every key counts, unless the shape is fixed: the next step's may not."""
    masks: dict[tuple[bool, bool], torch.Tensor | None] = {}
    for before in (False, True):
        for after in (False, True):
            mask = torch.cat(parts[0 if before else 1 : 3 if after else 2], 1)
            is_needed = always or not bool(mask.all())
            masks[before, after] = mask.repeat(2, 1)[:, None, None].to(device) if is_needed else None
    return masks
