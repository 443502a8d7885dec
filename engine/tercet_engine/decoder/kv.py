"""The memory behind the KV blocks, and where each row of a step finds its keys and values.

Used by the step loop (which binds a turn's blocks to a seat when it is admitted) and by the model (which
writes and reads through a `Layout`). It does not decide who gets blocks; that is the scheduler's work.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
import torch

from tercet_engine.decoder.blocks import BlockPool
from tercet_engine.decoder.paged import Pages, locate
from tercet_engine.decoder.shape import DecoderShape
from tercet_engine.decoder.uploads import upload

_GROUP_TOKENS = 8192
"""Most keys (padding included) that one group of decoding turns gathers: more would not stay in the cache."""


class Span(NamedTuple):
    """`rows` consecutive rows of the turn in `seat`, the first of them its `start`-th."""

    seat: int
    start: int
    rows: int

    @property
    def end(self) -> int:
        return self.start + self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows `first` to `first + turns * queries` of a step, which attend together.

    Either one new row each of several turns, or several rows of one turn.
    """

    first: int
    turns: int
    queries: int
    keys: int
    blocks: torch.Tensor  # (turns * blocks per turn)
    mask: torch.Tensor | None
    """(turns, 1, query heads of a key head * queries, keys), added to the scores; made once for all layers.
    None: a row sees every key, or of `queries` those up to its own.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Rows of `pages` come first; where there are none, single rows form groups as prompts do."""

    slots: torch.Tensor | None  # (rows,) where each row's keys and values are written; None: by `pages` alone
    groups: tuple[Group, ...]
    pages: Pages | None = None

    @property
    def goes_on(self) -> bool:
        """It can serve the step that follows, of the same turns."""
        return self.pages is not None and not self.groups

    def advance(self) -> None:
        """To that step."""
        if self.pages is not None:
            self.pages.lengths.add_(1)


def order_spans(spans: Sequence[Span]) -> list[int]:
    """The order of a step's rows: single rows first, like lengths side by side, so that little is padded, and
    threads that take them in turn have alike.
    """
    return sorted(range(len(spans)), key=lambda i: (spans[i].rows > 1, spans[i].end))


class KVCache:
    """Keys and values of all layers, (layers, blocks, tokens, keys then values, head dim)."""

    def __init__(
        self,
        shape: DecoderShape,
        pool: BlockPool,
        *,
        seats: int,
        device: torch.device,
        dtype: torch.dtype,
        paged: bool = False,
    ) -> None:
        """`paged`: single rows find their keys by tables on the device, and not in groups."""
        sizes = (shape.layers, pool.blocks, pool.block_tokens, 2 * shape.kv_heads, shape.head_dim)
        self.memory = torch.zeros(sizes, device=device, dtype=dtype)
        self.block_tokens = pool.block_tokens
        self._device = device
        self._shared = shape.heads // shape.kv_heads
        width = min(pool.blocks, pool.blocks_for(shape.context))
        self._blocks_of = np.zeros((seats, width), dtype=np.int32)
        self.tables = torch.from_numpy(self._blocks_of).to(device) if paged else None
        """On a CPU the same memory."""
        self._counts = [0] * seats
        self._free_seats = list(range(seats - 1, -1, -1))

    def bind(self, blocks: tuple[int, ...]) -> int:
        """Give these blocks a seat: the name under which a step's spans refer to them."""
        seat = self._free_seats[-1]
        row = self._blocks_of[seat]
        row[:] = blocks[0]  # where shorter turns are padded, they read their own memory
        row[: len(blocks)] = blocks
        if self.tables is not None and self._device.type != "cpu":
            self.tables[seat] = torch.from_numpy(row)
        self._counts[seat] = len(blocks)
        return self._free_seats.pop()

    def extend(self, grown: Sequence[tuple[int, Sequence[int]]]) -> None:
        """Append blocks to those of some seats."""
        places: list[tuple[int, int, int]] = []
        for seat, more in grown:
            places += [(seat, at, block) for at, block in enumerate(more, self._counts[seat])]
            self._counts[seat] += len(more)
        for seat, at, block in places:
            self._blocks_of[seat, at] = block
        if places and self.tables is not None and self._device.type != "cpu":
            seats, columns, blocks = upload(places, torch.long, self._device).T
            self.tables[seats, columns] = blocks.int()

    def release(self, seat: int) -> None:
        self._free_seats.append(seat)

    def wipe(self, blocks: Sequence[int]) -> None:
        """Forget what a failed turn wrote: a NaN would reach the next holder through masked keys."""
        self.memory[:, list(blocks)] = 0

    def plan_layout(self, spans: Sequence[Span]) -> Layout:
        """Layout of a step whose rows stand in the order of `spans`, (see `order_spans`)."""
        singles = next((i for i, span in enumerate(spans) if span.rows > 1), len(spans))
        if self.tables is not None and singles:
            return self._plan_paged(self.tables, spans[:singles], spans[singles:])
        groups = [self._decode_group(first, some) for first, some in _cut(spans[:singles])]
        groups += self._prompt_groups(singles, spans[singles:])
        return Layout(slots=self._slots(spans), groups=tuple(groups))

    def _slots(self, spans: Sequence[Span]) -> torch.Tensor:
        seats = np.repeat([span.seat for span in spans], [span.rows for span in spans])
        at = np.concatenate([np.arange(span.start, span.end) for span in spans])
        blocks = self._blocks_of[seats, at // self.block_tokens].astype(np.int64)
        return torch.from_numpy(blocks * self.block_tokens + at % self.block_tokens).to(self._device)

    def _plan_paged(self, tables: torch.Tensor, singles: Sequence[Span], prompts: Sequence[Span]) -> Layout:
        numbers = [[span.seat for span in singles], [span.end for span in singles]]
        seats, lengths = upload(numbers, torch.int32, self._device)
        pages = Pages(seats=seats, lengths=lengths)
        if not prompts:
            return Layout(slots=None, groups=(), pages=pages)
        slots = torch.cat([locate(pages, tables, self.block_tokens), self._slots(prompts)])
        return Layout(slots=slots, groups=tuple(self._prompt_groups(len(singles), prompts)), pages=pages)

    def _prompt_groups(self, first: int, spans: Sequence[Span]) -> Iterator[Group]:
        for span in spans:
            yield self._prompt_group(first, span)
            first += span.rows

    def _decode_group(self, first: int, spans: Sequence[Span]) -> Group:
        lengths = torch.tensor([span.end for span in spans])
        longest, shortest = spans[-1].end, spans[0].end
        mask = None
        if longest != shortest:
            unseen = torch.arange(longest) >= lengths[:, None]
            mask = torch.zeros(unseen.shape, dtype=self.memory.dtype).masked_fill_(unseen, -inf)
            mask = mask[:, None, None].to(self._device)
        return Group(
            first=first,
            turns=len(spans),
            queries=1,
            keys=longest,
            blocks=self._blocks([span.seat for span in spans], longest),
            mask=mask,
        )

    def _prompt_group(self, first: int, span: Span) -> Group:
        mask = None
        if span.start:
            sizes = (span.rows, span.end)
            mask = torch.full(sizes, -inf, dtype=self.memory.dtype, device=self._device).triu(span.start + 1)
            mask = mask.repeat(self._shared, 1)[None, None]
        return Group(
            first=first,
            turns=1,
            queries=span.rows,
            keys=span.end,
            blocks=self._blocks([span.seat], span.end),
            mask=mask,
        )

    def _blocks(self, seats: list[int], keys: int) -> torch.Tensor:
        width = -(-keys // self.block_tokens)
        return torch.from_numpy(self._blocks_of[seats, :width].ravel()).to(self._device)


def _cut(spans: Sequence[Span]) -> list[tuple[int, Sequence[Span]]]:
    """Cut single rows, sorted by length, into groups of at most _GROUP_TOKENS keys."""
    cuts, first = [], 0
    for i, span in enumerate(spans):
        if (i - first + 1) * span.end > _GROUP_TOKENS and i > first:
            cuts.append((first, spans[first:i]))
            first = i
    if first < len(spans):
        cuts.append((first, spans[first:]))
    return cuts
