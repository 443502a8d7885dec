"""What a decode step computes between its products and its attention, compiled, for CPUs in single precision.

Used by `compiled_step`. Threads share the rows.
"""

import ctypes
import math
from typing import Final

import numba
import numpy as np
from numba import types

from tercet_engine.decoder.compiled_team import compile_call, count_threads, get_thread, point

_f = np.float32
_float: Final = types.float32


class Norm(ctypes.Structure):
    """Rows of `width` numbers; those of `more`, `step` numbers apart, are added to them before. Addresses."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "more", "step", "weight", "normed", "width")),
        ("epsilon", ctypes.c_float),
    )


class Gate(ctypes.Structure):
    """Rows of `width` gates, then as many values, `step` numbers apart. Addresses."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("fused", "step", "gated", "width"))


class Angles(ctypes.Structure):
    """Positions in `room` columns, and for each of `half` pairs which row of them counts. Addresses."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("positions", "room", "sections", "frequencies", "half", "cos", "sin")
    )


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


@compile_call(Norm)
def norm(told, count):
    """Each row divided by the root of its mean square (RMSNorm)."""
    job = numba.carray(told, 1)[0]
    width = job.width
    rows = numba.carray(point(job.rows, _float), (count, width))
    normed = numba.carray(point(job.normed, _float), (count, width))
    weight = numba.carray(point(job.weight, _float), width)
    for i in range(get_thread(), count, count_threads()):
        row, out = rows[i], normed[i]
        if job.more != 0:
            more = numba.carray(point(job.more + 4 * i * job.step, _float), width)
            for j in range(width):
                row[j] += more[j]
        squares = _f(0)
        for j in range(width):
            squares += row[j] * row[j]
        scale = _f(1) / math.sqrt(squares / _f(width) + job.epsilon)
        for j in range(width):
            out[j] = row[j] * scale * weight[j]


@compile_call(Gate)
def gate(told, count):
    """(rows, 2 * width), gates before values -> (rows, width): silu(gate) * value (SwiGLU)."""
    job = numba.carray(told, 1)[0]
    width = job.width
    for i in range(get_thread(), count, count_threads()):
        gates = numba.carray(point(job.fused + 4 * i * job.step, _float), width)
        values = numba.carray(point(job.fused + 4 * (i * job.step + width), _float), width)
        out = numba.carray(point(job.gated + 4 * i * width, _float), width)
        for j in range(width):
            x = gates[j]
            small = exp(-abs(x))
            out[j] = x * (_f(1) if x >= _f(0) else small) / (_f(1) + small) * values[j]


@compile_call(Angles)
def find_angles(told, count):
    """As `rotary.Rotary.angles`, (3, rows) -> (rows, head dim / 2) each; no sign, no second half."""
    job = numba.carray(told, 1)[0]
    positions = numba.carray(point(job.positions, _float), (3, job.room))
    sections = numba.carray(point(job.sections, types.int64), job.half)
    frequencies = numba.carray(point(job.frequencies, _float), job.half)
    for i in range(get_thread(), count, count_threads()):
        cos = numba.carray(point(job.cos + 4 * i * job.half, _float), job.half)
        sin = numba.carray(point(job.sin + 4 * i * job.half, _float), job.half)
        for j in range(job.half):
            angle = positions[sections[j], i] * frequencies[j]
            cos[j], sin[j] = math.cos(angle), math.sin(angle)
