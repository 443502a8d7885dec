"""`paged.attend` on a CPU in single precision, compiled by numba, on all of torch's threads.

Used by `compiled_step`, whose rows are turned and kept on the way, and by `paged` for steps with prompts. A
turn's memory is read once and in the order in which it lies, a tile of tokens after the other; what is done
with each stands in `compiled_heads`.
"""

import ctypes
from functools import cache
from typing import Any, Final

import numba
import numpy as np
import torch
from numba import types

from tercet_engine.decoder.compiled_heads import LOWEST, mix_tile, weigh_tile
from tercet_engine.decoder.compiled_team import compile_call, count_threads, get_thread, point
from tercet_engine.decoder.compiled_vectors import LANES
from tercet_engine.decoder.jit import inline
from tercet_engine.decoder.paged import Pages
from tercet_engine.decoder.team import Call, Program

_FEW_TURNS: Final = 4
"""For each thread: so many even out, and each is read from end to end. Where there are fewer, or one has most
of all keys, heads are dealt out.
"""

_f = np.float32
_float: Final = types.float32
_int: Final = types.int32


_NUMBERS: Final = ("kv_heads", "blocks", "block_tokens", "row", "width")
_ADDRESSES: Final = ("fused", "memory", "tables", "seats", "lengths", "cos", "sin", "mixed")


class Job(ctypes.Structure):
    """What the threads of a team are told.

    `row` and `width`: the numbers from one turn's row, or table, to the next one's. Where there are `cos` and
    `sin` (not 0), rows hold keys and values behind their queries: all but values are turned, and both kept.
    """

    _fields_ = tuple((name, ctypes.c_int64) for name in (*_NUMBERS, *_ADDRESSES))


def build_job(mixed: torch.Tensor, memory: torch.Tensor, tables: torch.Tensor, pages: Pages, row: int) -> Job:
    """All that a step's layers have in common. `mixed`: (turns, heads * head dim)."""
    blocks, block_tokens, kept, _ = memory.shape
    if not len(mixed) == len(pages.seats) == len(pages.lengths):
        raise ValueError("there must be a seat and a length for each turn")
    return Job(
        kv_heads=kept // 2,
        blocks=blocks,
        block_tokens=block_tokens,
        row=row,
        width=tables.shape[1],
        memory=_address(memory, torch.float32),
        tables=_address(tables, torch.int32),
        seats=_address(pages.seats, torch.int32),
        lengths=_address(pages.lengths, torch.int32),
        mixed=_address(mixed, torch.float32),
    )


def _address(tensor: torch.Tensor, dtype: torch.dtype) -> int:
    """Compiled code takes what stands there as what it expects."""
    if tensor.dtype != dtype or not tensor.is_contiguous():
        raise ValueError(f"compiled attention takes rows of {dtype} that lie one after the other")
    return tensor.data_ptr()


def attend(queries: torch.Tensor, memory: torch.Tensor, tables: torch.Tensor, pages: Pages) -> torch.Tensor:
    """As `paged.attend`."""
    turns, heads, dim = queries.shape
    mixed = queries.new_empty(turns, heads * dim)
    job = build_job(mixed, memory, tables, pages, queries.stride(0))
    job.fused = _address(queries[0], torch.float32)
    Program([Call(compile_attention(heads // job.kv_heads, dim).address, job)]).run(turns)
    return mixed.view(turns, heads, dim)


@inline
def _turn(vector, cos, sin):
    half = len(cos)
    left, right = vector[:half], vector[half:]
    for j in range(half):
        a, b = left[j], right[j]
        left[j] = a * cos[j] - b * sin[j]
        right[j] = b * cos[j] + a * sin[j]


@inline
def _turn_and_keep(row, cos, sin, place, first, count):
    """Of one row (heads and all that is kept, dim), what belongs to key heads from the first one on."""
    kv_heads = len(place) // 2
    heads = len(row) - 2 * kv_heads
    shared = heads // kv_heads
    for head in range(first * shared, (first + count) * shared):
        _turn(row[head], cos, sin)
    for head in range(first, first + count):
        _turn(row[heads + head], cos, sin)
        for number in (head, kv_heads + head):
            new, kept = row[heads + number], place[number]
            for d in range(len(new)):
                kept[d] = new[d]


@inline
def _clear(tops, masses, mixes):
    """In place of numpy's functions for it, which would be compiled as well."""
    for h in range(len(tops)):
        for i in range(tops.shape[1]):
            for j in range(LANES):
                tops[h, i, j], masses[h, i, j] = _f(LOWEST), _f(0)
            for d in range(mixes.shape[2]):
                mixes[h, i, d] = _f(0)


@inline
def _attend_tile(queries, near, following, first, there, kept, mixes, shared, dim):
    """A tile's tokens (tokens, heads, dim), as many as are there, to the key heads from the first one on."""
    weights, tops, masses, fades = kept
    token_bytes, kv_heads = 4 * dim * near.shape[1], near.shape[1] // 2
    for h in range(len(queries)):
        weigh_tile(
            queries[h].ctypes.data,
            near[0, first + h].ctypes.data,
            following[0, first + h].ctypes.data,
            token_bytes,
            there,
            weights[h].ctypes.data,
            tops[h].ctypes.data,
            masses[h].ctypes.data,
            fades[h].ctypes.data,
            shared,
            dim,
        )
    for h in range(len(queries)):
        mix_tile(
            weights[h].ctypes.data,
            near[0, kv_heads + first + h].ctypes.data,
            following[0, kv_heads + first + h].ctypes.data,
            token_bytes,
            there,
            fades[h].ctypes.data,
            mixes[h].ctypes.data,
            shared,
            dim,
        )


@inline
def _attend_heads(queries, memory, blocks, length, first, mixed, shared, dim):
    """Queries (key heads, shared, dim) of the key heads from the first one on; `mixed` likewise."""
    count, tokens = len(queries), memory.shape[1]
    kept = np.empty((4, count, shared, LANES), np.float32)
    weights, tops, masses, fades = kept[0], kept[1], kept[2], kept[3]
    mixes = np.empty((count, shared, dim), np.float32)
    _clear(tops, masses, mixes)
    last = (length - 1) // tokens
    for number in range(last + 1):
        near, following = memory[blocks[number]], memory[blocks[min(number + 1, last)]]
        there = min(tokens, length - number * tokens)
        for t in range(0, there, LANES):
            _attend_tile(
                queries,
                near[t:],
                following[t:],
                first,
                min(LANES, there - t),
                (weights, tops, masses, fades),
                mixes,
                shared,
                dim,
            )
    for h in range(count):
        for i in range(shared):
            out, mix, mass = mixed[h, i], mixes[h, i], _f(0)
            for j in range(LANES):
                mass += masses[h, i, j]
            for d in range(dim):
                out[d] = mix[d] / mass


@cache
def compile_attention(shared: int, dim: int) -> Any:
    """A function of numba's (`address`) for `team.Program` that takes a `Job`.

    `shared`: query heads to a key head. Both numbers are constants of the code, by which a step of 32 turns
    is a sixth faster.
    """
    half = dim // 2

    @compile_call(Job, shared, dim)
    def attend_rows(told, turns):
        job = numba.carray(told, 1)[0]
        kv_heads, heads = job.kv_heads, job.kv_heads * shared
        memory = numba.carray(point(job.memory, _float), (job.blocks, job.block_tokens, 2 * kv_heads, dim))
        mixed = numba.carray(point(job.mixed, _float), (turns, kv_heads, shared, dim))
        seats = numba.carray(point(job.seats, _int), turns)
        lengths = numba.carray(point(job.lengths, _int), turns)
        threads = count_threads()
        evens_out = turns >= _FEW_TURNS * threads and lengths.max() * threads <= lengths.sum()
        parts = 1 if evens_out else kv_heads
        count = kv_heads // parts
        for task in range(get_thread(), turns * parts, threads):
            i, first = task // parts, task % parts * count
            blocks = numba.carray(point(job.tables + 4 * seats[i] * job.width, _int), job.width)
            length, fused = lengths[i], job.fused + 4 * i * job.row
            if job.cos != 0:
                row = numba.carray(point(fused, _float), (heads + 2 * kv_heads, dim))
                cos = numba.carray(point(job.cos + 4 * i * half, _float), half)
                sin = numba.carray(point(job.sin + 4 * i * half, _float), half)
                block, at = memory[blocks[(length - 1) // job.block_tokens]], (length - 1) % job.block_tokens
                _turn_and_keep(row, cos, sin, block[at], first, count)
            queries = numba.carray(point(fused, _float), (kv_heads, shared, dim))[first : first + count]
            _attend_heads(
                queries, memory, blocks, length, first, mixed[i, first : first + count], shared, dim
            )

    return attend_rows
