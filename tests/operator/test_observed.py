"""What pods and Deployments say, in the words of conditions."""

from typing import Any

import pytest
from tercet_operator.observed import HEAD, TAIL, Observed, find_pod_problem, observe

from tests.operator.cluster_objects import (
    GENERATION,
    build_child,
    build_pod,
    build_ready_pod,
    show_container,
)

Manifest = dict[str, Any]
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}
RUNNING = {"startedAt": "2026-01-01T00:00:00Z"}
CRASH = {"exitCode": 1, "reason": "Error", "message": "error: failed to load model 'thinker'\n"}
BACK_OFF = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container=triton"}
FETCHED = show_container("fetch", terminated={"exitCode": 0, "reason": "Completed"})


def triton(**state: Any) -> tuple[Manifest, ...]:
    return (show_container("triton", **state),)


def fetch(**state: Any) -> tuple[Manifest, ...]:
    return (show_container("fetch", **state),)


STARTING = triton(waiting={"reason": "PodInitializing"})

# The pod, the reason, and what its message must hold.
PROBLEMS: dict[str, tuple[Manifest, str | None, list[str]]] = {
    "just made": (build_pod(phase="Pending", conditions=()), None, []),
    "starting": (build_pod(containers=triton(waiting={"reason": "ContainerCreating"})), None, []),
    "fetching": (build_pod(init_containers=fetch(running=RUNNING), containers=STARTING), None, []),
    "loading": (build_pod(init_containers=(FETCHED,), containers=triton(running=RUNNING)), None, []),
    "fits nowhere": (
        build_pod(phase="Pending", conditions=(UNSCHEDULABLE,)),
        "InsufficientCapacity",
        ["demo-thinker-", "3 Insufficient nvidia.com/gpu", "InPlace"],
    ),
    "no such image": (
        build_pod(
            containers=triton(
                waiting={"reason": "ErrImagePull", "message": 'failed to pull "tercet/engine:9": not found'}
            )
        ),
        "ImagePullFailed",
        ["tercet/engine:9", "imagePullSecrets"],
    ),
    "no image, for a while": (
        build_pod(containers=triton(waiting={"reason": "ImagePullBackOff"})),
        "ImagePullFailed",
        ["ImagePullBackOff"],
    ),
    "no image for the fetch": (
        build_pod(init_containers=fetch(waiting={"reason": "InvalidImageName"}), containers=STARTING),
        "ImagePullFailed",
        ["InvalidImageName"],
    ),
    "no such secret": (
        build_pod(
            init_containers=fetch(
                waiting={"reason": "CreateContainerConfigError", "message": 'secret "hub-token" not found'}
            ),
            containers=STARTING,
        ),
        "PodMisconfigured",
        ['secret "hub-token" not found', "spec.model.token"],
    ),
    "a mount that cannot be": (
        build_pod(containers=triton(waiting={"reason": "CreateContainerError", "message": "not a folder"})),
        "PodMisconfigured",
        ["not a folder"],
    ),
    "the fetch failed": (
        build_pod(
            init_containers=fetch(
                waiting=BACK_OFF, last={"exitCode": 1, "message": "tercet: hf://a/b: no such repository"}
            ),
            containers=STARTING,
        ),
        "ModelFetchFailed",
        ["no such repository", "kubectl logs demo-thinker-", "-c fetch"],
    ),
    "the fetch failed just now": (
        build_pod(init_containers=fetch(terminated={"exitCode": 137, "reason": "OOMKilled"})),
        "ModelFetchFailed",
        ["OOMKilled, exit code 137"],
    ),
    "the fetch tries again": (
        build_pod(init_containers=fetch(running=RUNNING, last={"exitCode": 1, "message": "no route"})),
        "ModelFetchFailed",
        ["no route"],
    ),
    "out of memory": (
        build_pod(containers=triton(waiting=BACK_OFF, last={"exitCode": 137, "reason": "OOMKilled"})),
        "OutOfMemory",
        ["resources.limits.memory"],
    ),
    "crashed": (
        build_pod(containers=triton(waiting=BACK_OFF, last=CRASH)),
        "ServerCrashed",
        ["failed to load model 'thinker' See", "--previous"],
    ),
    "runs again after a crash": (
        build_pod(containers=triton(running=RUNNING, last=CRASH)),
        "ServerCrashed",
        ["failed to load"],
    ),
    "killed without a word": (
        build_pod(containers=triton(waiting=BACK_OFF, last={"exitCode": 139, "reason": "Error"})),
        "ServerCrashed",
        ["Error, exit code 139"],
    ),
    "a container of the template": (
        build_pod(
            containers=(*triton(running=RUNNING), show_container("proxy", waiting=BACK_OFF, last=CRASH))
        ),
        "ServerCrashed",
        ["Container proxy", "-c proxy"],
    ),
}


@pytest.mark.parametrize(("pod", "reason", "words"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_waiting_does_not_mend_is_a_problem(pod: Manifest, reason: str | None, words: list[str]) -> None:
    """With the cluster's words, and what to do."""
    problem = find_pod_problem(pod)
    assert (problem and problem.reason) == reason
    assert problem is None or [word for word in words if word not in problem.message] == []


def test_a_ready_pod_has_no_problem() -> None:
    """Whatever it went through before."""
    pod = build_ready_pod()
    pod["status"]["containerStatuses"][0]["lastState"] = {"terminated": CRASH}
    (seen,) = observe([pod], None).pods
    assert (seen.ready, seen.problem) == (True, None)


LOG = "Traceback of the fetch:\n" + "  a line of a log\n" * 200 + "OSError: No space left on device"


@pytest.mark.parametrize(
    ("said", "begin", "end"),
    [
        (LOG, "Traceback of the fetch: ... ", "a line of a log\nOSError: No space left on device"),
        ("x" * 900 + "!", "xxx", "xxx!"),
        ("\n  short \n", "short", "short"),
    ],
    ids=["a log", "one line", "a word"],
)
def test_of_a_long_message_its_ends_are_quoted(said: str, begin: str, end: str) -> None:
    """A container's last log may be in there, and a condition is no place for it."""
    pod = build_pod(init_containers=fetch(terminated={"exitCode": 1, "message": said}))
    problem = find_pod_problem(pod)
    assert problem is not None
    quoted = problem.message.partition("the model: ")[2].partition(" See `kubectl")[0]
    assert quoted.startswith(begin)
    assert quoted.endswith(end)
    assert len(quoted) <= HEAD + TAIL + len(" ... ")


@pytest.mark.parametrize(
    ("init_containers", "containers", "fetched"),
    [
        ((), (), False),
        (fetch(running=RUNNING), STARTING, False),
        (fetch(terminated={"exitCode": 1}), STARTING, False),
        ((FETCHED,), STARTING, True),
        ((), STARTING, False),
        ((), triton(running=RUNNING), True),
    ],
    ids=["new", "fetching", "failed", "fetched", "nothing to fetch, not mounted", "nothing to fetch"],
)
def test_the_model_is_there_once_the_fetch_ended_well(
    init_containers: tuple[Manifest, ...], containers: tuple[Manifest, ...], fetched: bool
) -> None:
    """Or, without a fetch, once the server could start."""
    (pod,) = observe([build_pod(init_containers=init_containers, containers=containers)], None).pods
    assert pod.fetched is fetched


def build_server(*conditions: Manifest, replicas: int | None = 1, leaving: bool = False) -> Manifest:
    server = build_child("Deployment", f"demo-thinker-{GENERATION}")
    if leaving:
        server["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    spec: Manifest = {} if replicas is None else {"replicas": replicas}
    spec["selector"] = {"matchLabels": {"tercet.dev/stage": "thinker", "tercet.dev/generation": GENERATION}}
    return server | {"spec": spec, "status": {"conditions": list(conditions)}}


QUOTA = 'pods "demo-thinker-x" is forbidden: exceeded quota: gpus'


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        ((), None),
        (({"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},), None),
        (({"type": "ReplicaFailure", "status": "False", "reason": "FailedCreate"},), None),
        (
            ({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},),
            "ProgressDeadlineExceeded",
        ),
        (
            (
                {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
                {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": QUOTA},
            ),
            "PodsRefused",
        ),
    ],
    ids=["new", "well", "well again", "late", "refused, and so late"],
)
def test_a_deployment_says_what_no_pod_can(conditions: tuple[Manifest, ...], reason: str | None) -> None:
    """That pods are refused, or late."""
    (server,) = observe([build_server(*conditions)], None).servers
    assert (server.problem and server.problem.reason) == reason
    assert reason != "PodsRefused" or (server.problem and QUOTA in server.problem.message)


def test_replicas_that_are_not_given_are_one() -> None:
    """As Kubernetes has it."""
    assert observe([build_server(replicas=None)], None).replicas("thinker", GENERATION) == 1
    assert observe([build_server(replicas=0)], None).replicas("thinker", GENERATION) == 0


def test_what_is_being_deleted_makes_no_pods_any_more() -> None:
    """A Deployment that leaves; its pods count until they are gone."""
    observed = observe([build_server(replicas=3, leaving=True), build_ready_pod()], None)
    assert observed.replicas("thinker", GENERATION) == 0
    assert observed.count("thinker", GENERATION) == 1


def see(*pods: Manifest) -> Observed:
    return observe(pods, None)


def test_places_are_taken_until_a_pod_is_gone() -> None:
    """A pod that drains holds its GPU, one that was evicted does not."""
    gone = build_pod(name="evicted", phase="Failed")
    done = build_pod(name="done", phase="Succeeded")
    leaving = build_ready_pod(name="leaving", leaving=True)
    observed = see(gone, done, leaving, build_ready_pod(name="ready"), build_pod(name="starting"))
    assert observed.count("thinker", GENERATION) == 3
    assert observed.count_ready("thinker", GENERATION) == 1


def test_generations_are_those_that_have_anything_left() -> None:
    """Of any kind of server."""
    observed = see(build_pod("talker", generation="b"), build_pod("thinker", generation="a", leaving=True))
    assert observed.generations() == {"a", "b"}
    assert [pod.kind for pod in observed.pods_of("talker", "b")] == ["talker"]


@pytest.mark.parametrize(
    ("status", "serving"),
    [(None, None), ({}, None), ({"servingGenerations": []}, ()), ({"servingGenerations": ["a"]}, ("a",))],
    ids=str,
)
def test_no_word_is_not_the_word_none(status: Manifest | None, serving: tuple[str, ...] | None) -> None:
    """A lost status says nothing; an empty list says that no generation serves."""
    assert observe([], status).serving_generations() == serving
