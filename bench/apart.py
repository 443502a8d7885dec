"""Work in a process of its own, so that threads and memory of one party do not tell on the next."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")


def run_apart(work: Callable[Given, Made], *given: Given.args, **named: Given.kwargs) -> Made:
    """Both the work and what it makes must be picklable."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(work, *given, **named).result()
