"""Products with a decoder's weights on a CPU, compiled, on all of torch's threads.

Used by `product` for weights in single precision, and by `compiled_step`. A step reads all weights for a few
rows, so what counts is how many bytes they are: a weight whose numbers are all numbers of 16 bits, as those
of checkpoints in 16 bits are, is kept in 16 bits and widened in registers. Nothing is rounded by that.
"""

import ctypes
from abc import ABC, abstractmethod
from functools import cache
from typing import Any, Final

import numba
import torch

from tercet_engine.decoder.compiled_team import compile_call, count_threads, get_thread
from tercet_engine.decoder.compiled_tile import (
    MANY_ROWS,
    WIDTH,
    Kind,
    count_tiles,
    multiply_tiles,
    step_bytes,
)
from tercet_engine.decoder.compiled_vectors import LANES
from tercet_engine.decoder.jit import inline
from tercet_engine.decoder.team import Call, Program

_TYPES: Final = {
    Kind.BFLOAT16: torch.bfloat16,
    Kind.FLOAT16: torch.float16,
    Kind.FLOAT32: torch.float32,
    Kind.INT8: torch.int8,
}
_AT_ONCE: Final = 20 * MANY_ROWS
"""Rows that all tiles are multiplied with, before others are: they stay in the nearer caches meanwhile."""
_count_tiles = inline(count_tiles)


class Job(ctypes.Structure):
    """Rows times a weight of so many `steps` and `tiles`. Addresses, and bytes from one row to the next."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("source", "row_bytes", "weight", "steps", "tiles", "start", "target", "out_bytes")
    )


@cache
def compile_product(kind: int) -> Any:
    size, tile_width = step_bytes(kind), 4 * WIDTH

    @compile_call(Job, kind)
    def multiply(told, rows):
        job = numba.carray(told, 1)[0]
        threads, thread = count_threads(), get_thread()
        first, end = job.tiles * thread // threads, job.tiles * (thread + 1) // threads
        tile_bytes, many = job.steps * size, _count_tiles(min(rows, MANY_ROWS))
        for start in range(0, rows, _AT_ONCE):
            tile, stop = first, min(rows, start + _AT_ONCE)
            while tile < end:
                tiles = many if tile + many <= end else 1
                for row in range(start, stop, MANY_ROWS):
                    multiply_tiles(
                        job.source + row * job.row_bytes,
                        job.row_bytes,
                        job.weight + tile * tile_bytes,
                        tile_bytes,
                        job.steps,
                        job.start + tile * tile_width,
                        job.target + row * job.out_bytes + tile * tile_width,
                        job.out_bytes,
                        kind,
                        min(stop - row, MANY_ROWS),
                        tiles,
                    )
                tile += tiles

    return multiply


class CompiledProduct(ABC):
    """A `linear.Linear` that can also be part of a program."""

    def __init__(self, weight: torch.Tensor, kind: Kind, start: torch.Tensor | None) -> None:
        """(outputs, inputs); `start` (outputs,): what sums begin with, zero without it."""
        self.outputs, self.inputs = weight.shape
        self._weight = pack(weight, kind)
        tiles, self._steps = self._weight.shape[:2]
        self.width = tiles * WIDTH
        """Numbers of a row of outputs, padded to whole tiles."""
        self._start = torch.zeros(self.width, dtype=torch.int32 if kind == Kind.INT8 else torch.float32)
        if start is not None:
            self._start[: self.outputs] = start
        self._function: int = compile_product(int(kind)).address

    @abstractmethod
    def plan(self, source: torch.Tensor, target: torch.Tensor) -> list[Call]:
        """(rows, inputs) -> (rows, width), in single precision; for as many rows, or fewer."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        source = x.reshape(-1, self.inputs).float().contiguous()
        target = source.new_empty(len(source), self.width)
        Program(self.plan(source, target)).run(len(source))
        result = target[:, : self.outputs].contiguous().to(x.dtype)
        return result.view(*x.shape[:-1], self.outputs)

    def _multiply(self, source: torch.Tensor, target: torch.Tensor) -> Call:
        """Rows in the numbers that the weight's kind takes."""
        job = Job(
            source=source.data_ptr(),
            row_bytes=source.stride(0) * source.element_size(),
            weight=self._weight.data_ptr(),
            steps=self._steps,
            tiles=self.width // WIDTH,
            start=self._start.data_ptr(),
            target=target.data_ptr(),
            out_bytes=target.stride(0) * target.element_size(),
        )
        return Call(self._function, job, (source, self._weight, self._start, target))


class FloatProduct(CompiledProduct):
    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        """(outputs, inputs), (outputs,)."""
        super().__init__(weight, find_kind(weight), bias)

    def plan(self, source: torch.Tensor, target: torch.Tensor) -> list[Call]:
        return [self._multiply(source, target)]


def find_kind(weight: torch.Tensor) -> Kind:
    """The smallest one in which each of these numbers is what it is."""
    for kind in (Kind.BFLOAT16, Kind.FLOAT16):
        if torch.equal(weight.to(_TYPES[kind]).to(weight.dtype), weight):
            return kind
    return Kind.FLOAT32


def pack(weight: torch.Tensor, kind: Kind) -> torch.Tensor:
    """(outputs, inputs) -> (tiles, steps, ...): all that a step along the inputs needs lies together."""
    outputs, inputs = weight.shape
    tiles = -(-outputs // WIDTH)
    padded = torch.zeros(tiles * WIDTH, inputs, dtype=_TYPES[kind])
    padded[:outputs] = weight
    if kind == Kind.INT8:
        quads = padded.view(tiles, WIDTH, inputs // 4, 4)
        return quads.transpose(1, 2).contiguous()
    packed = padded.view(tiles, 2, LANES, inputs).permute(0, 3, 1, 2)
    return (packed.transpose(2, 3) if kind == Kind.BFLOAT16 else packed).contiguous()
