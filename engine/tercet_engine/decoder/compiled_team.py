"""The part of `team` that threads execute, and what compiled functions ask of them."""

import ctypes
from functools import partial
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from tercet_engine.decoder.jit import compile_kept
from tercet_engine.decoder.team import Address, Program, load_runtime

# Of the runtime that threads are asked of, whatever else in the process has functions of these names.
for _name in ("omp_get_thread_num", "omp_get_num_threads", "GOMP_barrier"):
    binding.add_symbol(_name, ctypes.cast(getattr(load_runtime(), _name), ctypes.c_void_p).value)

get_thread = types.ExternalFunction("omp_get_thread_num", types.int32())
count_threads = types.ExternalFunction("omp_get_num_threads", types.int32())
_wait_for_all = types.ExternalFunction("GOMP_barrier", types.void())


def record(structure: type[ctypes.Structure]) -> Any:
    """Numba's type of it."""
    return numba.from_dtype(np.dtype(structure))


def compile_call(argument: type[ctypes.Structure], *constants: int) -> Any:
    """Decorates a function (pointer to such an argument, rows) for `team.Program`, and compiles it.

    `constants`: the numbers around it, by which it differs from others that come from the same lines.
    """
    return partial(compile_kept, types.void(types.CPointer(record(argument)), types.int64), constants)


@intrinsic
def point(_context, address, kind):
    """What lies at an address, as a pointer to numbers of this kind."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    pointed = kind.dtype if isinstance(kind, types.NumberClass) else kind.instance_type
    return types.CPointer(pointed)(types.int64, kind), generate


@intrinsic
def _call(_context, _function, _argument, _rows):
    def generate(_numba_context, builder, _signature, arguments):
        function, argument, rows = arguments
        number, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, number])
        builder.call(
            builder.inttoptr(function, kind.as_pointer()), [builder.inttoptr(argument, pointer), rows]
        )

    return types.void(types.int64, types.int64, types.int64), generate


_ADDRESS = record(Address)


@partial(compile_kept, types.void(types.CPointer(record(Program))), ())
def run_calls(told):
    program = numba.carray(told, 1)[0]
    calls = numba.carray(point(program.calls, _ADDRESS), program.count)
    for i in range(len(calls)):
        if i > 0:
            _wait_for_all()
        _call(calls[i].function, calls[i].argument, program.rows)
