"""The highest score of each row, compiled: what greedy turns say, and what shows that a turn is broken.

Used by `sampling` on a CPU.
"""

import ctypes
from typing import Final

import numba
import numpy as np
import torch
from numba import types

from tercet_engine.decoder.compiled_team import compile_call, count_threads, get_thread, point
from tercet_engine.decoder.jit import inline
from tercet_engine.decoder.team import Call, Program

_SPAN: Final = 128
"""Scores that are compared before it is asked whether one of them was the highest."""

_i = np.int32
_int: Final = types.int32
_REST: Final = 0x7FFFFFFF
"""All bits of a float but its sign."""
_INFINITE: Final = 0x7F800000
"""Of the rest, what infinity has; more is no number."""
_LOWEST: Final = -_INFINITE - 1
"""The rank of minus infinity."""


class Peaks(ctypes.Structure):
    """Rows of `width` scores, and where to put the index of each row's highest. Addresses."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("scores", "width", "best"))


@inline
def _rank(bits):
    """Whole numbers in the order of the floats with these bits, which are compared many at a time; and back.

    Each operation of numba's makes them longer, by which fewer would be.
    """
    return _int(bits ^ _int(_int(bits >> _i(31)) & _i(_REST)))


@inline
def _find_highest(row):
    """The highest rank, and of the bits without their sign."""
    highest, largest = _i(_LOWEST), _i(0)
    for j in range(len(row)):
        highest = max(highest, _rank(row[j]))
        largest = max(largest, _int(row[j] & _i(_REST)))
    return highest, largest


@inline
def _find_first(row, wanted):
    """The place of these bits, which are there."""
    first = 0
    while not _holds(row[first : first + _SPAN], wanted):
        first += _SPAN
    while row[first] != wanted:
        first += 1
    return first


@inline
def _holds(some, wanted):
    found = _i(0)
    for j in range(len(some)):
        found = _int(found | _int(some[j] == wanted))
    return found != 0


@compile_call(Peaks)
def find_peaks(told, count):
    job = numba.carray(told, 1)[0]
    width = job.width
    best = numba.carray(point(job.best, types.int64), count)
    for i in range(get_thread(), count, count_threads()):
        row = numba.carray(point(job.scores + 4 * i * width, _int), width)
        highest, largest = _find_highest(row)
        if largest > _INFINITE or not _LOWEST < highest < _INFINITE:
            best[i] = -1
        else:
            best[i] = _find_first(row, _rank(highest))


def find_best(scores: torch.Tensor) -> torch.Tensor:
    """(rows, width) -> (rows,): the first of each row's highest, zero being higher than minus zero; -1 where
    that is not finite or any is no number.
    """
    scores = scores.float().contiguous()
    best = torch.empty(len(scores), dtype=torch.long)
    job = Peaks(scores=scores.data_ptr(), width=scores.shape[1], best=best.data_ptr())
    Program([Call(find_peaks.address, job, (scores, best))]).run(len(scores))
    return best
