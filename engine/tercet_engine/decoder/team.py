"""Runs a compiled function on torch's own OpenMP threads.

Used for compiled attention. A second team of threads would fight with torch's for the cores, as both keep
theirs awake between two calls; so the function is handed to the runtime that torch brings along, through the
entry that compilers call for a parallel section (libgomp's manual, "Implementing PARALLEL construct").
"""

import ctypes
import os
from functools import cache
from typing import Final

import torch

_RUNTIME: Final = "libgomp.so.1"


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
    runtime.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    runtime.GOMP_parallel.restype = None
    for name in ("omp_get_thread_num", "omp_get_num_threads"):
        ask = getattr(runtime, name)
        ask.argtypes, ask.restype = [], ctypes.c_int
    return runtime


def run_on_team(function: int, argument: ctypes.Structure) -> None:
    """Call the function at this address with that of the argument, on each thread that torch would use."""
    load_runtime().GOMP_parallel(function, ctypes.addressof(argument), torch.get_num_threads(), 0)
