"""Every reason that a condition may carry, from the situation that leads to it."""

from collections.abc import Mapping
from typing import Any

import pytest
from tercet_operator.observed import observe
from tercet_operator.rollout import Goal, Rollout
from tercet_operator.status import Reading, Routable, build_invalid_status, build_status
from tercet_wire.names import COLOCATED, Stage
from tercet_wire.status import ConditionType, OmniStatus

from tests.operator.cluster_objects import build_child, build_pod, build_ready_pod, show_container

Manifest = dict[str, Any]
NEW, OLD = "bbbb2222", "aaaa1111"
NOW, BEFORE = "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"
ALL_READY = [build_ready_pod(stage, generation=NEW) for stage in Stage]
TOLD = {"servingGenerations": [NEW]}
REACHED: Routable = {(NEW, stage): 1 for stage in Stage}
CRASHED = build_pod(
    "talker",
    name="crashed",
    generation=NEW,
    containers=(show_container("triton", waiting={"reason": "CrashLoopBackOff"}, last={"exitCode": 1}),),
)
UNFETCHED = build_pod(
    "talker",
    generation=NEW,
    init_containers=(show_container("fetch", terminated={"exitCode": 1, "message": "no token"}),),
)
TWO_READY = [ALL_READY[0], ALL_READY[2]]


def build_server(stage: str, generation: str, **condition: str) -> Manifest:
    selector = {"matchLabels": {"tercet.dev/stage": stage, "tercet.dev/generation": generation}}
    spec = {"replicas": 1, "selector": selector}
    server = build_child("Deployment", f"demo-{stage}-{generation}", spec=spec)
    return server | {"status": {"conditions": [condition] if condition else []}}


LATE = build_server("talker", NEW, type="Progressing", status="False", reason="ProgressDeadlineExceeded")


def build(
    children: list[Manifest],
    status: Manifest | None = None,
    *,
    wanted: Mapping[str, int] | None = None,
    routable: Routable | None = None,
    now: str = NOW,
) -> OmniStatus:
    observed = observe(children, status)
    goal = Goal(strategy="Surge", current=NEW, wanted=wanted or dict.fromkeys(Stage, 1))
    rollout = Rollout(replicas={}, serving=(NEW,))
    return build_status(goal, rollout, observed, Reading(generation=3, url="u", now=now, routable=routable))


def find(status: OmniStatus, kind: str) -> tuple[str, str]:
    (found,) = (each for each in status.conditions if each.type == kind)
    return found.status, found.reason


# Children, what the status said before, more of the situation; then each condition's status and reason.
Situation = tuple[list[Manifest], Manifest | None, dict[str, Any], dict[str, tuple[str, str]]]
SITUATIONS: dict[str, Situation] = {
    "nothing yet": (
        [],
        None,
        {},
        {
            "Ready": ("False", "PodsNotReady"),
            "Progressing": ("True", "Starting"),
            "Degraded": ("False", "NothingWrong"),
            "ModelCached": ("False", "Fetching"),
        },
    ),
    "all ready, and the gateways know": (
        ALL_READY,
        TOLD,
        {"routable": REACHED},
        {
            "Ready": ("True", "Serving"),
            "Progressing": ("False", "Complete"),
            "Degraded": ("False", "NothingWrong"),
            "ModelCached": ("True", "Fetched"),
        },
    ),
    "all ready, and no gateway is asked": (ALL_READY, TOLD, {}, {"Ready": ("True", "Serving")}),
    "all ready, but nobody has been told": (
        ALL_READY,
        {"servingGenerations": []},
        {"routable": REACHED},
        {"Ready": ("False", "Updating"), "Progressing": ("False", "Complete")},
    ),
    "a stage that no gateway reaches": (
        ALL_READY,
        TOLD,
        {"routable": {(NEW, Stage.THINKER): 1, (NEW, Stage.TALKER): 1}},
        {"Ready": ("False", "NotRoutable"), "Degraded": ("False", "NothingWrong")},
    ),
    "told, and not yet heard, while older servers are there": (
        [*ALL_READY, build_server("talker", OLD)],
        TOLD,
        {"routable": {}},
        {"Ready": ("False", "Updating"), "Progressing": ("True", "Updating")},
    ),
    "gateways that are silent": (ALL_READY, TOLD, {"routable": {}}, {"Ready": ("False", "NotRoutable")}),
    "a stage that is not ready": (TWO_READY, TOLD, {}, {"Ready": ("False", "PodsNotReady")}),
    "one of two ready": (
        ALL_READY,
        TOLD,
        {"wanted": {Stage.THINKER: 2, Stage.TALKER: 1, Stage.CODE2WAV: 1}},
        {"Ready": ("True", "Serving"), "Progressing": ("True", "Starting")},
    ),
    "an old generation serves": (
        [build_server(stage, OLD) for stage in Stage],
        {"servingGenerations": [OLD]},
        {},
        {"Ready": ("False", "Updating"), "Progressing": ("True", "Updating")},
    ),
    "an old generation drains": (
        [*ALL_READY, build_ready_pod("talker", generation=OLD, leaving=True)],
        TOLD,
        {},
        {"Ready": ("True", "Serving"), "Progressing": ("True", "Updating")},
    ),
    "scaled to zero": (
        [],
        None,
        {"wanted": {Stage.THINKER: 1, Stage.TALKER: 0, Stage.CODE2WAV: 1}},
        {"Ready": ("False", "ScaledToZero")},
    ),
    "a server that crashes": (
        [*TWO_READY, CRASHED],
        TOLD,
        {},
        {"Ready": ("False", "ServerCrashed"), "Degraded": ("True", "ServerCrashed")},
    ),
    "a second server that crashes": (
        [*ALL_READY, CRASHED],
        TOLD,
        {"wanted": {Stage.THINKER: 1, Stage.TALKER: 2, Stage.CODE2WAV: 1}},
        {"Ready": ("True", "Serving"), "Degraded": ("True", "ServerCrashed")},
    ),
    "a model that cannot be fetched": (
        [UNFETCHED],
        None,
        {},
        {
            "Ready": ("False", "ModelFetchFailed"),
            "Degraded": ("True", "ModelFetchFailed"),
            "ModelCached": ("False", "ModelFetchFailed"),
        },
    ),
    "late": (
        [LATE],
        None,
        {},
        {
            "Ready": ("False", "ProgressDeadlineExceeded"),
            "Progressing": ("False", "ProgressDeadlineExceeded"),
            "Degraded": ("True", "ProgressDeadlineExceeded"),
        },
    ),
    "late, and a pod says why": ([LATE, CRASHED], None, {}, {"Degraded": ("True", "ServerCrashed")}),
    "a fault of pods that leave": (
        [*ALL_READY, CRASHED | {"metadata": CRASHED["metadata"] | {"name": "x", "deletionTimestamp": NOW}}],
        TOLD,
        {},
        {"Degraded": ("False", "NothingWrong")},
    ),
    "a fault of an old generation": (
        [*ALL_READY, build_pod("talker", generation=OLD) | {"status": CRASHED["status"]}],
        TOLD,
        {},
        {"Degraded": ("False", "NothingWrong")},
    ),
}


@pytest.mark.parametrize(("children", "before", "more", "expected"), SITUATIONS.values(), ids=SITUATIONS)
def test_conditions_say_what_is_the_matter(
    children: list[Manifest],
    before: Manifest | None,
    more: dict[str, Any],
    expected: dict[str, tuple[str, str]],
) -> None:
    """One of each type, with a message."""
    status = build(children, before, **more)
    assert {kind: find(status, kind) for kind in expected} == expected
    assert [each.type for each in status.conditions] == list(ConditionType)
    assert all(each.message and each.observed_generation == 3 for each in status.conditions)


def test_stages_are_counted() -> None:
    """Routable are no more than ready; pods that leave are not counted."""
    status = build(
        [*ALL_READY, build_pod("talker", name="t2", generation=NEW),
         build_ready_pod("talker", name="t3", generation=NEW, leaving=True)],
        wanted={Stage.THINKER: 1, Stage.TALKER: 2, Stage.CODE2WAV: 1},
        routable={(NEW, Stage.TALKER): 5},
    )  # fmt: skip
    talker = status.stages[Stage.TALKER]
    assert (talker.desired, talker.updated, talker.ready, talker.routable) == (2, 2, 1, 1)
    assert status.stages[Stage.THINKER].routable == 0
    assert status.summary == "1/1 1/2 1/1"


def test_a_colocated_server_counts_for_each_stage() -> None:
    """And every gateway says of each stage whether it reaches it."""
    pod = build_ready_pod(COLOCATED, generation=NEW)
    status = build([pod], TOLD, wanted={COLOCATED: 1}, routable=REACHED)
    assert status.summary == "1/1 1/1 1/1"
    assert find(status, "Ready") == ("True", "Serving")


def find_times(status: OmniStatus) -> dict[str, str]:
    return {each.type.value: each.last_transition_time for each in status.conditions}


def test_a_conditions_time_is_that_of_its_last_turn() -> None:
    """A new reason or message is none."""
    first = build([], now=BEFORE)
    shown = first.model_dump(mode="json", by_alias=True)
    assert set(find_times(build([CRASHED], shown)).items()) == {
        ("Ready", BEFORE), ("Progressing", BEFORE), ("Degraded", NOW), ("ModelCached", BEFORE),
    }  # fmt: skip


def test_the_same_situation_gives_the_same_status() -> None:
    """However late it is."""
    first = build(ALL_READY, TOLD, now=BEFORE)
    again = build(ALL_READY, first.model_dump(mode="json", by_alias=True), now=NOW)
    assert again == first


def test_an_invalid_spec_takes_nothing_from_those_that_run() -> None:
    """What served goes on serving; the reason stands in Ready and in Degraded."""
    observed = observe([], {"generation": OLD, "servingGenerations": [OLD]})
    reading = Reading(generation=4, url="u", now=NOW, routable=None)
    status = build_invalid_status("spec.stages: no", observed, reading)
    assert (status.generation, status.serving_generations) == (OLD, (OLD,))
    assert find(status, "Ready") == ("False", "InvalidSpec")
    assert find(status, "Degraded") == ("True", "InvalidSpec")
