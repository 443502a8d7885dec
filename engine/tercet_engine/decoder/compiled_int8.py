"""Products in 8 bits on a CPU, compiled: rows rounded before a product and scaled after it.

Used by `product`.
"""

import ctypes
from typing import Final

import numba
import numpy as np
import torch
from numba import types

from tercet_engine.decoder.compiled_product import CompiledProduct
from tercet_engine.decoder.compiled_team import compile_call, count_threads, get_thread, point
from tercet_engine.decoder.compiled_tile import Kind
from tercet_engine.decoder.team import Call

MOST: Final = 127
"""What the largest number of a row, or of a weight's output, becomes."""
ZERO: Final = 128
"""What 0 is among unsigned numbers."""
_TINY: Final = 1e-12
"""Keeps a row of zeros from being divided by its largest entry."""

_f = np.float32
_float: Final = types.float32


class Rounding(ctypes.Structure):
    """Rows of `width` numbers, `step` apart, to 8 bits each, and what 1 of them is worth. Addresses."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("rows", "step", "width", "rounded", "sizes"))


class Scaling(ctypes.Structure):
    """Rows of `width` numbers, whose columns have scales and biases of their own. Addresses."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("rows", "width", "sizes", "scales", "bias"))


@compile_call(Rounding)
def round_rows(told, count):
    job = numba.carray(told, 1)[0]
    width = job.width
    sizes = numba.carray(point(job.sizes, _float), count)
    for i in range(get_thread(), count, count_threads()):
        row = numba.carray(point(job.rows + 4 * i * job.step, _float), width)
        out = numba.carray(point(job.rounded + i * width, types.uint8), width)
        largest = _f(_TINY)
        taint = _f(0)  # no number, if the row holds one that is none
        for j in range(width):
            largest = max(largest, abs(row[j]))
            taint += row[j] * _f(0)
        sizes[i] = largest / _f(MOST) + taint
        scale = _f(MOST) / largest
        for j in range(width):
            out[j] = types.uint8(types.int32(row[j] * scale + _f(ZERO + 0.5)))


@compile_call(Scaling)
def scale_rows(told, count):
    job = numba.carray(told, 1)[0]
    width = job.width
    sizes = numba.carray(point(job.sizes, _float), count)
    scales = numba.carray(point(job.scales, _float), width)
    bias = numba.carray(point(job.bias, _float), width)
    for i in range(get_thread(), count, count_threads()):
        row, size = numba.carray(point(job.rows + 4 * i * width, _float), width), sizes[i]
        for j in range(width):
            row[j] = row[j] * size * scales[j] + bias[j]


class Int8Product(CompiledProduct):
    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        """(outputs, inputs), (outputs,)."""
        if weight.shape[1] % 4:
            raise ValueError(
                f"quantization int8 takes four inputs at a time, and {weight.shape[1]} are not fours"
            )
        whole = weight.detach().float()
        scales = whole.abs().amax(1).clamp(min=_TINY) / MOST
        rounded = (whole / scales[:, None]).round().to(torch.int8)
        off = -ZERO * rounded.sum(1, dtype=torch.int32)  # what unsigned rows make of a sum
        super().__init__(rounded, Kind.INT8, off)
        self._scales, self._bias = torch.zeros(2, self.width)
        self._scales[: self.outputs] = scales
        if bias is not None:
            self._bias[: self.outputs] = bias

    def plan(self, source: torch.Tensor, target: torch.Tensor) -> list[Call]:
        rows = torch.empty(source.shape, dtype=torch.uint8)
        sizes = torch.empty(len(source))
        rounding = Rounding(
            rows=source.data_ptr(),
            step=source.stride(0),
            width=self.inputs,
            rounded=rows.data_ptr(),
            sizes=sizes.data_ptr(),
        )
        scaling = Scaling(
            rows=target.data_ptr(),
            width=self.width,
            sizes=sizes.data_ptr(),
            scales=self._scales.data_ptr(),
            bias=self._bias.data_ptr(),
        )
        return [
            Call(round_rows.address, rounding, (source, rows, sizes)),
            self._multiply(rows, target),
            Call(scale_rows.address, scaling, (self._scales, self._bias)),
        ]
