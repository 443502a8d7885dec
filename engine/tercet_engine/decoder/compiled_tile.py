"""The innermost part of a product on a CPU: a few rows times a tile of a weight, in vector instructions.

Used by `compiled_product`. It is written in LLVM's own words, as numba has none for vectors. Sums stay in
registers; each number of a weight is loaded once, made single precision, and serves all rows. A row's sum is
taken in the order of the weight's inner dimension, however many rows there are.
"""

from enum import IntEnum
from typing import Any, Final

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


class Kind(IntEnum):
    """How a weight's numbers are kept."""

    FLOAT32 = 0
    FLOAT16 = 1
    BFLOAT16 = 2
    INT8 = 3
    """Four of a column side by side, multiplied with four of a row's, which are unsigned."""


def _count_lanes() -> int:
    """Of the processor's vectors, in single precision."""
    features = binding.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


LANES: Final = _count_lanes()
WIDTH: Final = 2 * LANES
"""Columns of a tile."""
MANY_ROWS: Final = 6 if LANES == 8 else 12
"""Whose sums, with two vectors of weights, fill the registers: AVX2 has 16 of them, AVX-512 and ARM 32."""
_AHEAD: Final = 4096
"""Bytes by which weights are asked for before they are needed; processors' own guesses end with a page."""

LINE: Final = 64
"""Bytes that processors ask memory for at a time."""

_number, _word, _half = ir.FloatType(), ir.IntType(32), ir.HalfType()
_address, _byte = ir.IntType(64), ir.IntType(8)
_numbers, _words = ir.VectorType(_number, LANES), ir.VectorType(_word, LANES)


def step_bytes(kind: int) -> int:
    """Of one step along the inner dimension in a tile."""
    return {Kind.FLOAT32: 4, Kind.FLOAT16: 2, Kind.BFLOAT16: 2, Kind.INT8: 4}[Kind(kind)] * WIDTH


def emit_prefetch(builder: Any, address: Any) -> None:
    """Ask memory for the line at an address, which is read soon."""
    line = builder.inttoptr(address, _byte.as_pointer())
    told = [line, *map(_word, (0, 3, 1))]  # to be read, kept in all caches, data
    kind = ir.FunctionType(ir.VoidType(), [each.type for each in told])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0"), told)


@intrinsic
def prefetch(_context, _address):
    """`emit_prefetch`, for what numba compiles."""

    def generate(context, builder, _signature, arguments):
        emit_prefetch(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


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
        several = builder.icmp_signed(">", tiles, _address(1))
        for most in (True, False):
            with builder.if_then(several if most else builder.not_(several)):
                end = builder.append_basic_block("multiplied")
                switch = builder.switch(rows, end)
                for number in range(1, MANY_ROWS + 1):
                    if most and count_tiles(number) == 1:
                        continue
                    block = builder.append_basic_block(f"rows_{number}")
                    switch.add_case(_address(number), block)
                    builder.position_at_end(block)
                    _Tiles(builder, given, kind, number, count_tiles(number) if most else 1).multiply()
                    builder.branch(end)
                builder.position_at_end(end)
        return context.get_dummy_value()

    i = types.int64
    return types.void(*[i] * 8, types.literal(kind), i, i), generate


class _Tiles:
    def __init__(self, builder: Any, arguments: Any, kind: int, rows: int, tiles: int) -> None:
        self._builder, self._kind, self._tiles = builder, kind, tiles
        source, row_bytes, weight, tile_bytes, self._steps, start, target, out_bytes = arguments
        self._sources = [self._at(source, row_bytes, row) for row in range(rows)]
        self._targets = [self._at(target, out_bytes, row) for row in range(rows)]
        self._weights = [self._at(weight, tile_bytes, tile) for tile in range(tiles)]
        self._start = start
        self._sum = _words if kind == Kind.INT8 else _numbers

    def multiply(self) -> None:
        builder = self._builder
        columns = range(2 * self._tiles)
        start = [self._load(self._start, 4 * LANES * column, self._sum, 4) for column in columns]
        sums = [
            [cgutils.alloca_once_value(builder, start[column]) for column in columns] for _ in self._sources
        ]
        with cgutils.for_range(builder, self._steps) as loop:
            weights = [
                vector
                for base in self._weights
                for vector in self._widen(self._at(base, loop.index, step_bytes(self._kind)))
            ]
            for base, row in zip(self._sources, sums, strict=True):
                entry = self._spread(self._at(base, loop.index, 4))
                for vector, total in zip(weights, row, strict=True):
                    builder.store(self._add_product(builder.load(total), entry, vector), total)
        for base, row in zip(self._targets, sums, strict=True):
            for column, total in enumerate(row):
                value = builder.load(total)
                if self._kind == Kind.INT8:
                    value = builder.sitofp(value, _numbers)
                builder.store(value, self._pointer(base, 4 * LANES * column, _numbers), align=4)

    def _widen(self, base: Any) -> list[Any]:
        """Two vectors of weights, as they are multiplied."""
        builder = self._builder
        for offset in range(0, step_bytes(self._kind), LINE):
            emit_prefetch(builder, self._at(base, _address(1), _AHEAD + offset))
        match self._kind:
            case Kind.BFLOAT16:  # the upper half of a number in single precision; two columns to a word
                words = self._load(base, 0, _words, 4 * LANES)
                left = builder.shl(words, _words([16] * LANES))
                right = builder.and_(words, _words([0xFFFF0000] * LANES))
                return [builder.bitcast(left, _numbers), builder.bitcast(right, _numbers)]
            case Kind.FLOAT16:
                halves = ir.VectorType(_half, LANES)
                both = [self._load(base, 2 * LANES * i, halves, 2 * LANES) for i in range(2)]
                return [builder.fpext(vector, _numbers) for vector in both]
            case _:
                return [self._load(base, 4 * LANES * i, self._sum, 4 * LANES) for i in range(2)]

    def _spread(self, address: Any) -> Any:
        """One entry of a row in each lane; four, if they are of 8 bits."""
        entry = self._load(address, 0, self._sum.element, 4)
        undefined = ir.Constant(self._sum, ir.Undefined)
        first = self._builder.insert_element(undefined, entry, _word(0))
        return self._builder.shuffle_vector(first, undefined, ir.Constant(_words, None))

    def _add_product(self, total: Any, entry: Any, weight: Any) -> Any:
        if self._kind == Kind.INT8:
            bytes_ = ir.VectorType(_byte, 4 * LANES)
            pair = [self._builder.bitcast(vector, bytes_) for vector in (entry, weight)]
            return self._call(f"llvm.x86.avx512.vpdpbusd.{32 * LANES}", _words, total, *pair)
        return self._call(f"llvm.fmuladd.v{LANES}f32", _numbers, entry, weight, total)

    def _call(self, name: str, returned: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(returned, [argument.type for argument in arguments])
        return self._builder.call(cgutils.get_or_insert_function(self._builder.module, kind, name), arguments)

    def _load(self, base: Any, offset: int, kind: Any, align: int) -> Any:
        return self._builder.load(self._pointer(base, offset, kind), align=align)

    def _pointer(self, base: Any, offset: int, kind: Any) -> Any:
        return self._builder.inttoptr(self._at(base, _address(1), offset), kind.as_pointer())

    def _at(self, base: Any, count: Any, size: int) -> Any:
        return self._builder.add(base, self._builder.mul(count, _address(size)))
