"""What holds for every test."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _keeps_its_scheduling() -> Iterator[None]:
    """An encoder of AV1 makes whoever calls it as root a real-time thread. So would be all processes that
    later tests start, and two of those that wait for each other on one core wait for ever.
    """
    before = os.sched_getscheduler(0)
    yield
    assert os.sched_getscheduler(0) == before, "a test has made this a process of another scheduling class"
