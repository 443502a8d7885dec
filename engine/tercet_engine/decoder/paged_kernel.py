"""Attention of single rows over paged keys and values, in the Triton language: for GPUs, not measured.

Used by `paged`, which says what is computed. A turn's keys are cut into `SPLITS` parts that run side by side,
so that one long turn alone still fills a GPU; a second kernel joins the parts by their softmax mass. Lengths
are read on the device, so one captured launch serves every length.
"""

import torch
import triton
import triton.language as tl

_TILE = 64
_FEWEST_ROWS = 16
"""A matrix product of the Triton language has at least this many rows."""
_PROGRAMS = 256
"""Parts are made until about this many programs run: two for each multiprocessor of a large GPU."""
_MOST_SPLITS = 32


@triton.jit
def _attend_part(
    queries,
    memory,
    tables,
    seats,
    lengths,
    mixes,
    tops,
    masses,
    scale,
    row_stride,
    table_width,
    BLOCK_TOKENS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    SHARED: tl.constexpr,
    ROWS: tl.constexpr,
    DIM: tl.constexpr,
    TILE: tl.constexpr,
    SPLITS: tl.constexpr,
):
    turn, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + turn)
    table = tables + tl.load(seats + turn).to(tl.int64) * table_width
    share = tl.cdiv(tl.cdiv(length, SPLITS), TILE) * TILE
    start = part * share
    end = tl.minimum(start + share, length)
    rows = tl.arange(0, ROWS)
    dims = tl.arange(0, DIM)
    heads = head * SHARED + rows
    query = tl.load(
        queries + turn.to(tl.int64) * row_stride + heads[:, None] * DIM + dims[None, :],
        mask=rows[:, None] < SHARED,
        other=0.0,
    )
    top = tl.full([ROWS], float("-inf"), tl.float32)
    mass = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, DIM], tl.float32)
    for first in range(start, end, TILE):
        at = first + tl.arange(0, TILE)
        is_seen = at < end
        block = tl.load(table + at // BLOCK_TOKENS, mask=is_seen, other=0).to(tl.int64)
        slot = block * BLOCK_TOKENS + at % BLOCK_TOKENS
        place = memory + (slot * (2 * KV_HEADS) + head) * DIM
        key = tl.load(place[:, None] + dims[None, :], mask=is_seen[:, None], other=0.0)
        value = tl.load(place[:, None] + KV_HEADS * DIM + dims[None, :], mask=is_seen[:, None], other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
        scores = tl.where(is_seen[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        weights = tl.exp(scores - higher[:, None])
        fade = tl.exp(top - higher)
        mixed = mixed * fade[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        mass = mass * fade + tl.sum(weights, 1)
        top = higher
    at_part = (turn * (KV_HEADS * SHARED) + heads) * SPLITS + part
    tl.store(tops + at_part, top, mask=rows < SHARED)
    tl.store(masses + at_part, mass, mask=rows < SHARED)
    tl.store(mixes + at_part[:, None] * DIM + dims[None, :], mixed, mask=rows[:, None] < SHARED)


@triton.jit
def _join_parts(
    mixes,
    tops,
    masses,
    joined,
    DIM: tl.constexpr,
    SPLITS: tl.constexpr,
):
    """A part without keys has no mass and a top of minus infinity."""
    head = tl.program_id(0)
    parts = head * SPLITS + tl.arange(0, SPLITS)
    dims = tl.arange(0, DIM)
    top = tl.load(tops + parts)
    weights = tl.exp(top - tl.max(top, 0))
    mixed = tl.load(mixes + parts[:, None] * DIM + dims[None, :])
    total = tl.sum(weights * tl.load(masses + parts), 0)
    result = tl.sum(weights[:, None] * mixed, 0) / total
    tl.store(joined + head * DIM + dims, result.to(joined.dtype.element_ty))


def attend(
    queries: torch.Tensor,
    memory: torch.Tensor,
    tables: torch.Tensor,
    seats: torch.Tensor,
    lengths: torch.Tensor,
) -> torch.Tensor:
    """As `paged.attend`. The head size must be a power of two of at least 16."""
    turns, heads, dim = queries.shape
    kv_heads = memory.shape[2] // 2
    splits = _count_splits(turns * kv_heads)
    mixes = queries.new_empty(turns * heads, splits, dim, dtype=torch.float32)
    tops, masses = (queries.new_empty(turns * heads, splits, dtype=torch.float32) for _ in range(2))
    _attend_part[(turns, kv_heads, splits)](
        queries,
        memory,
        tables,
        seats,
        lengths,
        mixes,
        tops,
        masses,
        dim**-0.5,
        queries.stride(0),
        tables.stride(0),
        BLOCK_TOKENS=memory.shape[1],
        KV_HEADS=kv_heads,
        SHARED=heads // kv_heads,
        ROWS=max(_FEWEST_ROWS, triton.next_power_of_2(heads // kv_heads)),
        DIM=dim,
        TILE=_TILE,
        SPLITS=splits,
    )
    joined = queries.new_empty(turns, heads, dim)
    _join_parts[(turns * heads,)](mixes, tops, masses, joined, DIM=dim, SPLITS=splits)
    return joined


def _count_splits(programs: int) -> int:
    splits = 1
    while splits < _MOST_SPLITS and splits * programs < _PROGRAMS:
        splits *= 2
    return splits
