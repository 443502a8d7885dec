"""LLVM's own words for vectors, as numba has none: for the innermost loops of what is compiled.

Addresses are whole numbers, and what lies between two of them is in bytes.
"""

from collections.abc import Sequence
from typing import Any, Final

from llvmlite import binding, ir
from numba.core import cgutils


def _count_lanes() -> int:
    features = binding.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


LANES: Final = _count_lanes()
"""Of the processor's vectors, in single precision."""
LINE: Final = 64
"""Bytes that processors ask memory for at a time."""

number, word, whole = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_byte = ir.IntType(8)


# Any: llvmlite carries no types.
class Emitter:
    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def at(self, base: Any, count: Any, size: Any) -> Any:
        """The address `count` times `size` behind another; both may be numbers of ours."""
        count, size = (whole(each) if isinstance(each, int) else each for each in (count, size))
        return self.builder.add(base, self.builder.mul(count, size))

    def pointer(self, address: Any, kind: Any) -> Any:
        return self.builder.inttoptr(address, kind.as_pointer())

    def load(self, address: Any, kind: Any, align: int = 4) -> Any:
        return self.builder.load(self.pointer(address, kind), align=align)

    def store(self, value: Any, address: Any) -> None:
        self.builder.store(value, self.pointer(address, value.type), align=4)

    def prefetch(self, address: Any) -> None:
        """Ask memory for the line at an address, which is read soon."""
        told = [self.pointer(address, _byte), *map(word, (0, 3, 1))]  # to be read, kept in all caches, data
        self.call("llvm.prefetch.p0", ir.VoidType(), *told)

    def call(self, name: str, returned: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(returned, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def spread(self, entry: Any, lanes: int) -> Any:
        """It in each lane."""
        undefined = ir.Constant(ir.VectorType(entry.type, lanes), ir.Undefined)
        return self.take(self.builder.insert_element(undefined, entry, word(0)), [0] * lanes)

    def take(self, vector: Any, places: Sequence[int], more: Any = None) -> Any:
        """A vector of these entries of one, or of two as if the second stood behind the first."""
        more = ir.Constant(vector.type, ir.Undefined) if more is None else more
        lanes = ir.Constant(ir.VectorType(word, len(places)), list(places))
        return self.builder.shuffle_vector(vector, more, lanes)

    def multiply_add(self, one: Any, other: Any, total: Any) -> Any:
        return self.call(f"llvm.fmuladd.v{total.type.count}f32", total.type, one, other, total)
