"""The DiT's attention on a CPU, compiled: a block's queries over its own keys, and those of its neighbours.

Used by `compiled_layers`. Threads share the heads of all rows. Keys and values are laid out as the weights of
two products, whose inner part is that of the decoder's products.
"""

import ctypes
import math
from functools import cache
from typing import Any, Final

import numba
import numpy as np
from numba import types

from tercet_engine.code2wav.compiled_dit import SCENE
from tercet_engine.code2wav.windows import BLOCK_FRAMES
from tercet_engine.decoder.compiled import exp
from tercet_engine.decoder.compiled_team import compile_call, count_threads, get_thread, point
from tercet_engine.decoder.compiled_tile import MANY_ROWS, WIDTH, Kind, multiply_tiles
from tercet_engine.decoder.jit import FAST, inline

_KEYS: Final = 3 * BLOCK_FRAMES
_TILES: Final = -(-_KEYS // WIDTH)
_SINGLE: Final = int(Kind.FLOAT32)

_f = np.float32
_float: Final = types.float32
_int: Final = types.int64


class Job(ctypes.Structure):
    """Addresses: `fused` lines of queries, keys and values, `step` numbers apart; `mixed` (lines, hidden).

    `rotations` (72, head dim), sines behind their cosines. `back`: which of the `backs` layers that look back
    this one is, or -1; `ahead`: whether it looks ahead.
    """

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("scene", "fused", "step", "mixed", "heads", "rotations", "back", "backs", "ahead")
    )


@inline
def _turn(source, rotation, factor, target):
    """Pairs of neighbouring numbers are complex ones."""
    for j in range(0, len(source), 2):
        a, b = source[j], source[j + 1]
        target[j] = factor * (a * rotation[j] - b * rotation[j + 1])
        target[j + 1] = factor * (a * rotation[j + 1] + b * rotation[j])


@inline
def _copy(source, factor, target):
    for j in range(len(source)):
        target[j] = factor * source[j]


@inline
def _lay(address, step, apart, count, at, head, rotations, turned, keys, values, dim):
    """`count` keys, `step` numbers from each to the next, and values `apart` from them, from place `at` on.

    `rotations`: from the first key's on; only the first head is turned.
    """
    for t in range(count):
        key = numba.carray(point(address + 4 * t * step, _float), dim)
        value = numba.carray(point(address + 4 * (t * step + apart), _float), dim)
        if head == 0:
            _turn(key, rotations[t], _f(1), turned)
        else:
            _copy(key, _f(1), turned)
        tile, column = (at + t) // WIDTH, (at + t) % WIDTH
        for j in range(dim):
            keys[tile, j, column] = turned[j]
        for j in range(dim):
            values[j // WIDTH, at + t, j % WIDTH] = value[j]


@inline
def _lay_queries(address, step, count, head, rotations, scale, queries, dim):
    for i in range(count):
        query = numba.carray(point(address + 4 * i * step, _float), dim)
        if head == 0:
            _turn(query, rotations[i], scale, queries[i])
        else:
            _copy(query, scale, queries[i])


@inline
def _keep(address, step, apart, target, target_step, target_apart, dim):
    """A block's keys and values as they are, for the window that follows."""
    for t in range(BLOCK_FRAMES):
        for part in range(2):
            given = numba.carray(point(address + 4 * (t * step + part * apart), _float), dim)
            kept = numba.carray(point(target + 4 * (t * target_step + part * target_apart), _float), dim)
            _copy(given, _f(1), kept)


@inline
def _look_back(job, scene, first, number, which, head, near, rotations, turned, keys, values, dim):
    """Lays out the block before a row, if there is one; keeps the row's own, if that is the window's last.

    `first`: the first line of the pass; `near`: the row's reach. Returns how many keys there are.
    """
    hidden = job.heads * dim
    step, at_head = 2 * hidden, 4 * head * dim
    size = 4 * BLOCK_FRAMES * step
    before = near[0]
    place = (scene.evaluation * job.backs + job.back) * 2 + which
    of_window = scene.evaluations * job.backs * 2
    at_key = job.fused + 4 * (hidden + head * dim)
    if near[3] >= 0:
        target = scene.kept + (near[3] * of_window + place) * size + at_head
        own = at_key + 4 * (first + number * scene.width) * job.step
        _keep(own, job.step, hidden, target, step, hidden, dim)
    if before < 0:
        return 0
    address, apart = at_key + 4 * (first + before * scene.width) * job.step, job.step
    if before >= scene.count:
        address, apart = scene.known + ((before - scene.count) * of_window + place) * size + at_head, step
    _lay(address, apart, hidden, BLOCK_FRAMES, 0, head, rotations, turned, keys, values, dim)
    return BLOCK_FRAMES


@inline
def _find_aligned(numbers):
    """The first that stands where a vector of weights may; the last 16 are not to be counted on."""
    return -(numbers.ctypes.data // 4) % 16


@numba.njit(**FAST)
def _multiply(source, weight, tiles, steps, start, target, rows):
    """(rows, steps or more), (tiles, steps or more, WIDTH) -> (rows, tiles * WIDTH or more)."""
    row_bytes, tile_bytes, out_bytes = source.strides[0], weight.strides[0], target.strides[0]
    for tile in range(tiles):
        for row in range(0, rows, MANY_ROWS):
            multiply_tiles(
                source.ctypes.data + row * row_bytes,
                row_bytes,
                weight.ctypes.data + tile * tile_bytes,
                tile_bytes,
                steps,
                start.ctypes.data,
                target.ctypes.data + row * out_bytes + 4 * WIDTH * tile,
                out_bytes,
                _SINGLE,
                min(rows - row, MANY_ROWS),
                1,
            )


@inline
def _weigh(scores, count):
    """The first so many become weights, which add up to one."""
    top = scores[0]
    for t in range(1, count):
        top = max(top, scores[t])
    mass = _f(0)
    for t in range(count):
        scores[t] = exp(scores[t] - top)
        mass += scores[t]
    share = _f(1) / mass
    for t in range(count):
        scores[t] *= share


@cache
def compile_block_attention(dim: int) -> Any:
    """A function of numba's (`address`) for `team.Program` that takes a `Job`."""
    out_tiles = -(-dim // WIDTH)
    key_numbers, value_numbers = _TILES * dim * WIDTH, out_tiles * _KEYS * WIDTH

    @compile_call(Job, dim)
    def attend(told, lines):
        job = numba.carray(told, 1)[0]
        scene = numba.carray(point(job.scene, SCENE), 1)[0]
        heads, hidden = job.heads, job.heads * dim
        reach = numba.carray(point(scene.reach, _int), (scene.count, 4))
        rotations = numba.carray(point(job.rotations, _float), (_KEYS, dim))
        middle, end = rotations[BLOCK_FRAMES:], rotations[2 * BLOCK_FRAMES :]
        mixed = numba.carray(point(job.mixed, _float), (lines, heads, dim))
        turned, start = np.empty(dim, np.float32), np.zeros(WIDTH, np.float32)
        queries = np.empty((BLOCK_FRAMES, dim), np.float32)
        scores = np.empty((BLOCK_FRAMES, _TILES * WIDTH), np.float32)
        mixes = np.empty((BLOCK_FRAMES, out_tiles * WIDTH), np.float32)
        room = np.zeros(key_numbers + value_numbers + 16, np.float32)
        room = room[_find_aligned(room) :]
        keys = room[:key_numbers].reshape((_TILES, dim, WIDTH))
        values = room[key_numbers : key_numbers + value_numbers].reshape((out_tiles, _KEYS, WIDTH))
        scale = _f(1) / math.sqrt(_f(dim))
        for task in range(get_thread(), 2 * scene.count * heads, count_threads()):
            head, number = task % heads, task // heads % scene.count
            which = task // heads // scene.count
            near, first = reach[number], which * scene.count * scene.width
            frames, line = near[2], first + number * scene.width
            at_query = job.fused + 4 * (line * job.step + head * dim)
            there = 0
            if job.back >= 0:
                there = _look_back(
                    job, scene, first, number, which, head, near, rotations, turned, keys, values, dim
                )
            at_key = at_query + 4 * hidden
            _lay(at_key, job.step, hidden, frames, there, head, middle, turned, keys, values, dim)
            there += frames
            if job.ahead != 0 and near[1] >= 0:
                more, following = reach[near[1], 2], at_key + 4 * scene.width * job.step
                _lay(following, job.step, hidden, more, there, head, end, turned, keys, values, dim)
                there += more
            _lay_queries(at_query, job.step, frames, head, middle, scale, queries, dim)
            _multiply(queries, keys, (there + WIDTH - 1) // WIDTH, dim, start, scores, frames)
            for i in range(frames):
                _weigh(scores[i], there)
            _multiply(scores, values, out_tiles, there, start, mixes, frames)
            for i in range(frames):
                _copy(mixes[i, :dim], _f(1), mixed[line + i, head])

    return attend
