"""Which changes of a status are worth an Event: those that a person would want to read. Pure.

Called by `reconcile` after the status was written. Writes of children are not news.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from tercet_wire.names import API_GROUP, API_VERSION, KIND, MANAGER
from tercet_wire.status import ConditionType

from tercet_operator.store import Key

WAITING: Final = frozenset({"PodsNotReady", "Updating", "Fetching", "ScaledToZero", "NotRoutable"})
"""Reasons that are a stage on the way, not a fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def announce(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Announcement]:
    generation = after.get("generation")
    if generation and generation != before.get("generation"):
        first = "" if before.get("generation") else " for the first time"
        yield Announcement(
            type="Normal", reason="RolloutStarted", message=f"Making servers{first}: generation {generation}."
        )
    old, new = (_find(status, ConditionType.READY) for status in (before, after))
    fault = new.get("status") != "True" and new.get("reason") not in WAITING
    turned = old.get("status", "False") != new.get("status")
    if turned or (fault and old.get("reason") != new.get("reason")):
        yield Announcement(
            type="Warning" if fault else "Normal",
            reason=str(new.get("reason")),
            message=str(new.get("message")),
        )
    done = _find(after, ConditionType.PROGRESSING).get("reason") == "Complete"
    if done and _find(before, ConditionType.PROGRESSING).get("status") == "True":
        yield Announcement(
            type="Normal",
            reason="RolloutComplete",
            message=f"All replicas are of generation {generation} and ready.",
        )


def build_event(key: Key, uid: str, news: Announcement, *, now: str, instance: str) -> dict[str, Any]:
    namespace, name = key
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{name}-", "namespace": namespace},
        "involvedObject": {
            "apiVersion": f"{API_GROUP}/{API_VERSION}",
            "kind": KIND,
            "name": name,
            "namespace": namespace,
            "uid": uid,
        },
        "type": news.type,
        "reason": news.reason,
        "message": news.message[:1024],
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "reportingInstance": instance,
    }


def _find(status: Mapping[str, Any], kind: ConditionType) -> Mapping[str, Any]:
    conditions = status.get("conditions") or ()
    return next((each for each in conditions if each["type"] == kind), {})
