"""Clients that may have gone are asked after, a few at a time."""

import time

import pytest
from tercet_engine.lookout import Lookout


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its one entry is the time."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_nobody_is_asked_again_at_once(clock: list[float]) -> None:
    lookout = Lookout()
    assert lookout.choose(["a", "b"]) == ["a", "b"]
    assert lookout.choose(["a", "b"]) == []
    clock[0] += 0.03
    assert lookout.choose(["a", "b"]) == ["a", "b"]


def test_after_a_long_step_all_are_asked(clock: list[float]) -> None:
    """However many: the time that it takes is a small part of the step's."""
    lookout, names = Lookout(), [str(number) for number in range(40)]
    lookout.choose(names[:1])
    clock[0] += 0.3
    assert lookout.choose(names) == names


def test_of_many_each_is_asked_in_turn(clock: list[float]) -> None:
    lookout, names = Lookout(), [str(number) for number in range(10)]
    lookout.choose(names[:1])
    asked = []
    for _ in range(6):
        clock[0] += 0.03
        asked += lookout.choose(names)
    assert asked == names + names
