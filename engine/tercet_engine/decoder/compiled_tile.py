"""The innermost part of a product on a CPU: a few rows times a tile of a weight, in vector instructions.

Used by `compiled_product`, and by the DiT's attention. Sums stay in registers; each number of a weight is
loaded once, made single precision, and serves all rows. A row's sum is taken in the order of the weight's
inner dimension, however many rows there are.
"""

from enum import IntEnum
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tercet_engine.decoder.compiled_vectors import LANES, LINE, Emitter, number, whole, word


class Kind(IntEnum):
    """How a weight's numbers are kept."""

    FLOAT32 = 0
    FLOAT16 = 1
    BFLOAT16 = 2
    INT8 = 3
    """Four of a column side by side, multiplied with four of a row's, which are unsigned."""


WIDTH: Final = 2 * LANES
"""Columns of a tile."""
MANY_ROWS: Final = 6 if LANES == 8 else 12
"""Whose sums, with two vectors of weights, fill the registers: AVX2 has 16 of them, AVX-512 and ARM 32."""
_AHEAD: Final = 4096
"""Bytes by which weights are asked for before they are needed; processors' own guesses end with a page."""

_half, _byte = ir.HalfType(), ir.IntType(8)
_numbers, _words = ir.VectorType(number, LANES), ir.VectorType(word, LANES)


def step_bytes(kind: int) -> int:
    """Of one step along the inner dimension in a tile."""
    return {Kind.FLOAT32: 4, Kind.FLOAT16: 2, Kind.BFLOAT16: 2, Kind.INT8: 4}[Kind(kind)] * WIDTH


def count_tiles(rows: int) -> int:
    """How many tiles are multiplied at once: the fewer rows, the more, as each sum waits for itself."""
    return max(1, min(4, MANY_ROWS // rows))


@intrinsic(prefer_literal=True)
def multiply_tiles(
    _context, source, row_bytes, weight, tile_bytes, steps, start, target, out_bytes, kind, rows, tiles
):
    """`rows` of the source times `tiles` of the weight, beginning with `start`, into the target.

    Addresses, strides in bytes, and the number of steps. `tiles` is 1, or `count_tiles` of the rows.
    """
    kind = kind.literal_value

    def generate(context, builder, _signature, arguments):
        *given, _, rows, tiles = arguments
        several = builder.icmp_signed(">", tiles, whole(1))
        for most in (True, False):
            with builder.if_then(several if most else builder.not_(several)):
                end = builder.append_basic_block("multiplied")
                switch = builder.switch(rows, end)
                for count in range(1, MANY_ROWS + 1):
                    if most and count_tiles(count) == 1:
                        continue
                    block = builder.append_basic_block(f"rows_{count}")
                    switch.add_case(whole(count), block)
                    builder.position_at_end(block)
                    _Tiles(builder, given, kind, count, count_tiles(count) if most else 1).multiply()
                    builder.branch(end)
                builder.position_at_end(end)
        return context.get_dummy_value()

    i = types.int64
    return types.void(*[i] * 8, types.literal(kind), i, i), generate


class _Tiles:
    def __init__(self, builder: Any, arguments: Any, kind: int, rows: int, tiles: int) -> None:
        self._emit, self._kind, self._tiles = Emitter(builder), kind, tiles
        source, row_bytes, weight, tile_bytes, self._steps, start, target, out_bytes = arguments
        self._sources = [self._emit.at(source, row, row_bytes) for row in range(rows)]
        self._targets = [self._emit.at(target, row, out_bytes) for row in range(rows)]
        self._weights = [self._emit.at(weight, tile, tile_bytes) for tile in range(tiles)]
        self._start = start
        self._sum = _words if kind == Kind.INT8 else _numbers

    def multiply(self) -> None:
        builder, emit = self._emit.builder, self._emit
        columns = range(2 * self._tiles)
        start = [emit.load(emit.at(self._start, column, 4 * LANES), self._sum) for column in columns]
        sums = [
            [cgutils.alloca_once_value(builder, start[column]) for column in columns] for _ in self._sources
        ]
        with cgutils.for_range(builder, self._steps) as loop:
            weights = [
                vector
                for base in self._weights
                for vector in self._widen(emit.at(base, loop.index, step_bytes(self._kind)))
            ]
            for base, row in zip(self._sources, sums, strict=True):
                entry = self._spread(emit.at(base, loop.index, 4))
                for vector, total in zip(weights, row, strict=True):
                    builder.store(self._add_product(builder.load(total), entry, vector), total)
        for base, row in zip(self._targets, sums, strict=True):
            for column, total in enumerate(row):
                value = builder.load(total)
                if self._kind == Kind.INT8:
                    value = builder.sitofp(value, _numbers)
                emit.store(value, emit.at(base, column, 4 * LANES))

    def _widen(self, base: Any) -> list[Any]:
        """Two vectors of weights, as they are multiplied."""
        builder, emit = self._emit.builder, self._emit
        for offset in range(0, step_bytes(self._kind), LINE):
            emit.prefetch(emit.at(base, 1, _AHEAD + offset))
        match self._kind:
            case Kind.BFLOAT16:  # the upper half of a number in single precision; two columns to a word
                words = emit.load(base, _words, 4 * LANES)
                left = builder.shl(words, _words([16] * LANES))
                right = builder.and_(words, _words([0xFFFF0000] * LANES))
                return [builder.bitcast(left, _numbers), builder.bitcast(right, _numbers)]
            case Kind.FLOAT16:
                halves = ir.VectorType(_half, LANES)
                both = [emit.load(emit.at(base, i, 2 * LANES), halves, 2 * LANES) for i in range(2)]
                return [builder.fpext(vector, _numbers) for vector in both]
            case _:
                return [emit.load(emit.at(base, i, 4 * LANES), self._sum, 4 * LANES) for i in range(2)]

    def _spread(self, address: Any) -> Any:
        """One entry of a row in each lane; four, if they are of 8 bits."""
        return self._emit.spread(self._emit.load(address, self._sum.element), LANES)

    def _add_product(self, total: Any, entry: Any, weight: Any) -> Any:
        if self._kind == Kind.INT8:
            bytes_ = ir.VectorType(_byte, 4 * LANES)
            pair = [self._emit.builder.bitcast(vector, bytes_) for vector in (entry, weight)]
            return self._emit.call(f"llvm.x86.avx512.vpdpbusd.{32 * LANES}", _words, total, *pair)
        return self._emit.multiply_add(entry, weight, total)
