"""Waiting for a condition with an end, which is the only way in which the tests of this folder wait."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

Found = TypeVar("Found")
POLL_S: Final = 0.05


def wait_for(
    probe: Callable[[], Found | None],
    what: str,
    *,
    within_s: float = 30.0,
    poll_s: float = POLL_S,
    why: Callable[[], object] = str,
) -> Found:
    """The first truthy answer of `probe`; `why` says what was there instead."""
    ends_at = time.monotonic() + within_s
    while not (found := probe()):
        assert time.monotonic() < ends_at, f"not within {within_s:g} s: {what}\n{why()}"
        time.sleep(poll_s)
    return found
