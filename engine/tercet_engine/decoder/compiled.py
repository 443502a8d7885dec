"""What a decode step computes between its products, compiled by numba: for CPUs, in single precision.

Used by `compiled_step`; what attention and products in 8 bits need stands beside it. All of this runs on the
calling thread, since the rows of a step are few. Compiled when the module is imported, which takes a second
or two and no compiler on the machine.
"""

import math
from typing import Final

import numba
import numpy as np
from numba import types

_f = np.float32
ROWS: Final = types.float32[:, ::1]
LINE: Final = types.float32[::1]
FAST: Final = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "error_model": "numpy", "nogil": True}
"""Sums in whatever order is fast; a division by zero is no exception, and what is no number stays none, by
which a broken turn is known; other threads go on.
"""


@numba.njit(fastmath={"contract"}, forceinline=True)
def exp(x):
    """The exponential of x, which is not above 0; nothing below -87. Off by 1e-7 of it at most.

    Two to a whole number, which is a float's exponent, times the series of e to the rest (Cody and Waite,
    Software Manual for the Elementary Functions, 1980). The C library's keeps a loop from being vectorised.
    """
    within = max(x, _f(-87))
    whole = types.int32(within * _f(1.44269504) - _f(0.5))
    rest = within - _f(whole) * _f(0.693145751953125) - _f(whole) * _f(1.42860682e-6)
    series = _f(1 / 5040)
    series = series * rest + _f(1 / 720)
    series = series * rest + _f(1 / 120)
    series = series * rest + _f(1 / 24)
    series = series * rest + _f(1 / 6)
    series = series * rest + _f(1 / 2)
    series = series * rest + _f(1)
    series = series * rest + _f(1)
    scaled = series * np.int32((whole + 127) << 23).view(np.float32)
    return _f(0) if x < _f(-87) else scaled


@numba.njit(types.void(ROWS, LINE, types.float32, ROWS), **FAST)
def norm(rows, weight, epsilon, normed):
    """Each row divided by the root of its mean square (RMSNorm)."""
    count, width = rows.shape
    for i in range(count):
        row, out = rows[i], normed[i]
        squares = _f(0)
        for j in range(width):
            squares += row[j] * row[j]
        scale = _f(1) / math.sqrt(squares / _f(width) + epsilon)
        for j in range(width):
            out[j] = row[j] * scale * weight[j]


@numba.njit(types.void(ROWS, ROWS, LINE, types.float32, ROWS), **FAST)
def add_norm(rows, more, weight, epsilon, normed):
    """`more` is added to the rows where they are, and their norm taken."""
    count, width = rows.shape
    for i in range(count):
        row, addend = rows[i], more[i]
        for j in range(width):
            row[j] += addend[j]
    norm(rows, weight, epsilon, normed)


@numba.njit(types.void(ROWS, ROWS), **FAST)
def gate(fused, gated):
    """(rows, 2 * width), gates before values -> (rows, width): silu(gate) * value (SwiGLU)."""
    count, width = gated.shape
    for i in range(count):
        gates, values, out = fused[i, :width], fused[i, width:], gated[i]
        for j in range(width):
            x = gates[j]
            small = exp(-abs(x))
            out[j] = x * (_f(1) if x >= _f(0) else small) / (_f(1) + small) * values[j]


@numba.njit(types.void(ROWS, types.int64[::1], LINE, ROWS, ROWS), **FAST)
def find_angles(positions, sections, frequencies, cos, sin):
    """As `rotary.Rotary.angles`, (3, rows) -> (rows, head dim / 2) each; no sign, no second half."""
    for i in range(len(cos)):
        for j in range(len(sections)):
            angle = positions[sections[j], i] * frequencies[j]
            cos[i, j], sin[i, j] = math.cos(angle), math.sin(angle)
