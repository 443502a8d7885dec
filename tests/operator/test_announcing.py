"""Which changes of a status become Events."""

from collections.abc import Mapping
from typing import Any

import pytest
from tercet_operator.announcing import Announcement, announce, build_event

Status = dict[str, Any]
GENERATION = {"generation": "aaaa1111"}


def say(*, ready: str, status: str = "False", progressing: str = "Starting", **rest: Any) -> Status:
    """A status with these reasons."""
    done = progressing in {"Complete", "ProgressDeadlineExceeded"}
    return {
        "conditions": [
            {"type": "Ready", "status": status, "reason": ready, "message": f"{ready}."},
            {"type": "Progressing", "status": str(not done), "reason": progressing, "message": ""},
        ],
        **GENERATION,
        **rest,
    }


STARTING = say(ready="PodsNotReady")
SERVING = say(ready="Serving", status="True", progressing="Complete")
GROWING = say(ready="Serving", status="True")
CRASHED = say(ready="ServerCrashed")

CASES: dict[str, tuple[Status, Status, list[tuple[str, str]]]] = {
    "the first look": ({}, STARTING, [("Normal", "RolloutStarted")]),
    "nothing new": (STARTING, STARTING, []),
    "serving, with all replicas": (STARTING, SERVING, [("Normal", "Serving"), ("Normal", "RolloutComplete")]),
    "serving, not all yet": (STARTING, GROWING, [("Normal", "Serving")]),
    "all replicas now": (GROWING, SERVING, [("Normal", "RolloutComplete")]),
    "scaled up": (SERVING, GROWING, []),
    "a fault at the start": (STARTING, CRASHED, [("Warning", "ServerCrashed")]),
    "a fault that lasts": (CRASHED, CRASHED, []),
    "another fault": (CRASHED, say(ready="OutOfMemory"), [("Warning", "OutOfMemory")]),
    "a fault that passes": (CRASHED, STARTING, []),
    "a server is gone": (SERVING, STARTING, [("Normal", "PodsNotReady")]),
    "a server has crashed": (SERVING, CRASHED, [("Warning", "ServerCrashed")]),
    "no gateway reaches it": (SERVING, say(ready="NotRoutable"), [("Normal", "NotRoutable")]),
    "one wait for another": (STARTING, say(ready="Updating"), []),
    "an edit": (
        SERVING,
        say(ready="Updating", generation="bbbb2222"),
        [("Normal", "RolloutStarted"), ("Normal", "Updating")],
    ),
    "an edit that makes no servers": (SERVING, say(ready="InvalidSpec"), [("Warning", "InvalidSpec")]),
}


@pytest.mark.parametrize(("before", "after", "news"), CASES.values(), ids=CASES)
def test_turns_and_faults_are_news(before: Status, after: Status, news: list[tuple[str, str]]) -> None:
    """Each once; what is only a step on the way is none."""
    assert [(each.type, each.reason) for each in announce(before, after)] == news


def test_the_first_rollout_is_said_to_be_the_first() -> None:
    """A later one is not."""
    (first,) = announce({}, STARTING)
    assert first.message == "Making servers for the first time: generation aaaa1111."
    again, *_ = announce(SERVING, STARTING | {"generation": "bbbb2222"})
    assert again.message == "Making servers: generation bbbb2222."


def test_an_event_points_to_its_deployment() -> None:
    """`kubectl describe` finds it by the uid; the API takes at most 1024 characters."""
    news = Announcement(type="Warning", reason="ServerCrashed", message="x" * 2000)
    event: Mapping[str, Any] = build_event(
        ("ns", "demo"), "uid-1", news, now="2026-01-01T00:00:00Z", instance="i"
    )
    assert event["involvedObject"]["uid"] == "uid-1"
    assert event["metadata"] == {"generateName": "demo-", "namespace": "ns"}
    assert len(event["message"]) == 1024
    assert (event["type"], event["reason"], event["count"]) == ("Warning", "ServerCrashed", 1)
