"""What surrounds a product in 8 bits, compiled by numba: rows rounded before it, and scaled after it.

Used by `int8`.
"""

import numba
import numpy as np
from numba import types

from tercet_engine.decoder.compiled import FAST, LINE, ROWS

_f = np.float32


@numba.njit(types.void(ROWS, types.uint8[:, ::1], LINE), **FAST)
def round_rows(rows, rounded, sizes):
    """Each row in 8 bits about 128; `sizes`: what one of them is worth, so that its largest entry is 127."""
    count, width = rows.shape
    for i in range(count):
        row, out = rows[i], rounded[i]
        largest = _f(1e-12)  # keeps a row of zeros from being divided by it
        taint = _f(0)  # no number, if the row holds one that is none
        for j in range(width):
            largest = max(largest, abs(row[j]))
            taint += row[j] * _f(0)
        sizes[i] = largest / _f(127) + taint
        scale = _f(127) / largest
        for j in range(width):
            out[j] = types.uint8(types.int32(row[j] * scale + _f(128.5)))


@numba.njit(types.void(ROWS, LINE, LINE), **FAST)
def scale_rows(rows, sizes, bias):
    """Each row times its size, plus the bias, where it is."""
    count, width = rows.shape
    for i in range(count):
        row, size = rows[i], sizes[i]
        for j in range(width):
            row[j] = row[j] * size + bias[j]
