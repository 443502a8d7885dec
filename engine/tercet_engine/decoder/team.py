"""Runs compiled functions on torch's own OpenMP threads.

Used for all that is compiled for a CPU. A second team of threads would fight with torch's for the cores, as
both keep theirs awake between two calls; so functions are handed to the runtime that torch brings along,
through the entries that compilers call for a parallel section and a barrier (libgomp's manual, "Implementing
PARALLEL construct" and "Implementing BARRIER construct").
"""

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import torch

_RUNTIME: Final = "libgomp.so.1"


class Call(NamedTuple):
    """Of a compiled function, by its address."""

    function: int
    argument: ctypes.Structure
    holds: tuple[torch.Tensor, ...] = ()
    """Whose addresses the argument holds; they stay as long as the program does."""


class Address(ctypes.Structure):
    """Of a function, and of what it is told."""

    _fields_ = (("function", ctypes.c_int64), ("argument", ctypes.c_int64))


class Program(ctypes.Structure):
    """Calls that all threads make one after the other, none before the one before has ended on each thread.

    Each is told its argument and `rows`, by which a program serves steps of any size.
    """

    _fields_ = (("calls", ctypes.c_int64), ("count", ctypes.c_int64), ("rows", ctypes.c_int64))

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        self._addresses = (Address * len(calls))(
            *(Address(call.function, ctypes.addressof(call.argument)) for call in calls)
        )
        super().__init__(calls=ctypes.addressof(self._addresses), count=len(calls))

    def run(self, rows: int) -> None:
        """On each thread that torch would use."""
        self.rows = rows
        load_runtime().GOMP_parallel(_find_runner(), ctypes.addressof(self), torch.get_num_threads(), 0)


@cache
def has_runtime() -> bool:
    try:
        load_runtime()
    except OSError:
        return False
    return True


@cache
def load_runtime() -> ctypes.CDLL:
    """The libgomp that torch computes with, which is loaded; raises OSError where it is another runtime."""
    runtime = ctypes.CDLL(_RUNTIME, mode=os.RTLD_NOLOAD)
    first = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    if first is not None and _find_address(first) != _find_address(runtime.GOMP_parallel):
        raise OSError("a runtime that was loaded before libgomp stands in for it")
    runtime.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    runtime.GOMP_parallel.restype = None
    return runtime


# Any: ctypes has no public type of a library's functions.
def _find_address(function: Any) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value


@cache
def _find_runner() -> int:
    from tercet_engine.decoder import compiled_team  # noqa: PLC0415 - compiles

    address: int = compiled_team.run_calls.address
    return address
