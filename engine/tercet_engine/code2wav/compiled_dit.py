"""What the DiT computes between its products and its attention, compiled, for CPUs in single precision.

Used by `compiled_layers`. Threads share the lines, which are the frames of all rows in both passes.
"""

import ctypes
import math
from typing import Final

import numba
import numpy as np
from numba import types

from tercet_engine.code2wav.dit_layers import NORM_EPS
from tercet_engine.decoder.compiled import exp
from tercet_engine.decoder.compiled_team import compile_call, count_threads, get_thread, point, record

_f = np.float32
_float: Final = types.float32


class Scene(ctypes.Structure):
    """What changes from batch to batch, and `modulation` and `evaluation` with each evaluation.

    `count` rows of `width` lines in each pass. Addresses: `modulation` (vectors of the evaluation, hidden);
    `reach` as `rows.Rows` has it; `known` and `kept`, as in `batch.Batch`, of so many `evaluations`.
    """

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("count", "width", "modulation", "reach", "known", "kept", "evaluations", "evaluation")
    )


class Norm(ctypes.Structure):
    """Lines of `width` numbers; those of `more`, `step` numbers apart, are added to them before. Addresses.

    `gate` and `scale` number the scene's modulations: the first is what `more` is multiplied with, the second
    what a norm is, the one after that what is added to it.
    """

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("scene", "lines", "more", "step", "gate", "scale", "normed", "width")
    )


class Gelu(ctypes.Structure):
    """Lines of `width` numbers, `step` numbers apart, by their address; the results take their place."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("lines", "step", "width"))


SCENE: Final = record(Scene)
_EPSILON: Final = _f(NORM_EPS)


@compile_call(Norm)
def norm(told, count):
    """The layer norm whose weight and bias come from the time."""
    job = numba.carray(told, 1)[0]
    width = job.width
    modulation = numba.carray(point(job.scene, SCENE), 1)[0].modulation
    lines = numba.carray(point(job.lines, _float), (count, width))
    normed = numba.carray(point(job.normed, _float), (count, width))
    gate = numba.carray(point(modulation + 4 * job.gate * width, _float), width)
    scale = numba.carray(point(modulation + 4 * job.scale * width, _float), width)
    shift = numba.carray(point(modulation + 4 * (job.scale + 1) * width, _float), width)
    for i in range(get_thread(), count, count_threads()):
        line, out = lines[i], normed[i]
        if job.more != 0:
            more = numba.carray(point(job.more + 4 * i * job.step, _float), width)
            for j in range(width):
                line[j] += gate[j] * more[j]
        total = _f(0)
        for j in range(width):
            total += line[j]
        mean, squares = total / _f(width), _f(0)
        for j in range(width):
            squares += (line[j] - mean) * (line[j] - mean)
        factor = _f(1) / math.sqrt(squares / _f(width) + _EPSILON)
        for j in range(width):
            out[j] = (line[j] - mean) * factor * scale[j] + shift[j]


@compile_call(Gelu)
def gelu(told, count):
    """By its approximation with a hyperbolic tangent, which is a logistic function of twice the argument."""
    job = numba.carray(told, 1)[0]
    for i in range(get_thread(), count, count_threads()):
        line = numba.carray(point(job.lines + 4 * i * job.step, _float), job.width)
        for j in range(job.width):
            x = line[j]
            twice = _f(1.5957691216) * (x + _f(0.044715) * x * x * x)
            small = exp(-abs(twice))
            line[j] = x * (_f(1) if twice >= _f(0) else small) / (_f(1) + small)
