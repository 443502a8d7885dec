"""What surrounds a product in 8 bits, compiled by numba: rows rounded before it, and scaled after it.

Used by `int8`.
"""

import numba
import numpy as np
from numba import types

from tercet_engine.decoder.compiled import FAST, LINE, ROWS
from tercet_engine.decoder.int8 import MOST, TINY, ZERO

_f = np.float32


@numba.njit(types.void(ROWS, types.uint8[:, ::1], LINE), **FAST)
def round_rows(rows, rounded, sizes):
    """Each row in 8 bits about `ZERO`; `sizes`: what 1 of them is worth, so that the largest is `MOST`."""
    count, width = rows.shape
    for i in range(count):
        row, out = rows[i], rounded[i]
        largest = _f(TINY)
        taint = _f(0)  # no number, if the row holds one that is none
        for j in range(width):
            largest = max(largest, abs(row[j]))
            taint += row[j] * _f(0)
        sizes[i] = largest / _f(MOST) + taint
        scale = _f(MOST) / largest
        for j in range(width):
            out[j] = types.uint8(types.int32(row[j] * scale + _f(ZERO + 0.5)))


@numba.njit(types.void(ROWS, LINE, LINE), **FAST)
def scale_rows(rows, sizes, bias):
    """Each row times its size, plus the bias, where it is."""
    count, width = rows.shape
    for i in range(count):
        row, size = rows[i], sizes[i]
        for j in range(width):
            row[j] = row[j] * size + bias[j]
