"""What the API server last said about one OmniDeployment and its children, as `plan` needs it. Pure.

`store` holds the raw objects; here they become servers and pods by kind and generation. Only pods say what
is ready or in the way: a Deployment's own status comes later and forgets pods that still drain.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tercet_wire.names import LABEL_GENERATION, LABEL_STAGE

from tercet_operator.resources.pods import CONTAINER, FETCH_CONTAINER

Manifest = Mapping[str, Any]
Ref = tuple[str, str]
"""Kind and name of a child; its namespace is its owner's."""
HEAD: Final = 120
TAIL: Final = 270
"""Characters of what a container or the cluster said that a condition repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a pod does not serve. `reason` is one that a condition may carry."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    name: str
    kind: str
    generation: str
    ready: bool
    leaving: bool
    fetched: bool
    """The checkpoint is where the server reads it."""
    problem: Problem | None = None

    @property
    def serves(self) -> bool:
        return self.ready and not self.leaving


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The Deployment of one kind of server in one generation."""

    kind: str
    generation: str
    replicas: int
    problem: Problem | None = None
    """Why it cannot even make its pods, or has not in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """`children` by kind and name, as the API server has them; `status` is the deployment's own."""

    children: Mapping[Ref, Manifest]
    servers: tuple[Server, ...]
    pods: tuple[Pod, ...]
    status: Manifest

    def serving_generations(self) -> tuple[str, ...] | None:
        """None where no status says it: that is not the same as saying that there are none."""
        said = self.status.get("servingGenerations")
        return None if said is None else tuple(said)

    def generations(self) -> set[str]:
        """All that have a Deployment or a pod left."""
        return {server.generation for server in self.servers} | {pod.generation for pod in self.pods}

    def replicas(self, kind: str, generation: str) -> int:
        return sum(
            server.replicas
            for server in self.servers
            if (server.kind, server.generation) == (kind, generation)
        )

    def pods_of(self, kind: str, generation: str) -> tuple[Pod, ...]:
        return tuple(pod for pod in self.pods if (pod.kind, pod.generation) == (kind, generation))

    def count(self, kind: str, generation: str) -> int:
        """Places taken: pods that are there, even if they leave, and those that will be."""
        return max(self.replicas(kind, generation), len(self.pods_of(kind, generation)))

    def count_ready(self, kind: str, generation: str) -> int:
        return sum(pod.serves for pod in self.pods_of(kind, generation))


def observe(children: Iterable[Manifest], status: Manifest | None) -> Observed:
    everything = {(child["kind"], child["metadata"]["name"]): child for child in children}
    pods = [child for (kind, _), child in everything.items() if kind == "Pod"]
    servers = [child for (kind, _), child in everything.items() if kind == "Deployment"]
    return Observed(
        children=everything,
        servers=tuple(_parse_server(server) for server in servers if not _leaves(server)),
        pods=tuple(_parse_pod(pod) for pod in pods if not _is_over(pod)),
        status=status or {},
    )


def _parse_server(server: Manifest) -> Server:
    selector = server["spec"]["selector"]["matchLabels"]  # labels can be changed by hand, this cannot
    return Server(
        kind=selector[LABEL_STAGE],
        generation=selector[LABEL_GENERATION],
        replicas=int(server["spec"].get("replicas", 1)),
        problem=_find_server_problem(server),
    )


def _find_server_problem(server: Manifest) -> Problem | None:
    conditions = _conditions(server)
    failure = conditions.get("ReplicaFailure", {})
    if failure.get("status") == "True":
        return Problem(
            reason="PodsRefused",
            message=f"The cluster refuses the pods: {_quote(failure)} "
            "Correct spec.podTemplate, or the namespace's quota or policies.",
        )
    if conditions.get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded":
        return Problem(
            reason="ProgressDeadlineExceeded",
            message="The pods were not ready in time. Look at their logs and events; if they only need "
            "longer, raise spec.rollout.startupSeconds.",
        )
    return None


def _parse_pod(pod: Manifest) -> Pod:
    ready = _conditions(pod).get("Ready", {}).get("status") == "True"
    return Pod(
        name=pod["metadata"]["name"],
        kind=_label(pod, LABEL_STAGE),
        generation=_label(pod, LABEL_GENERATION),
        ready=ready,
        leaving=_leaves(pod),
        fetched=_is_fetched(pod),
        problem=None if ready else find_pod_problem(pod),
    )


def find_pod_problem(pod: Manifest) -> Problem | None:
    """What keeps a pod from serving, where waiting alone will not help."""
    name = pod["metadata"]["name"]
    scheduled = _conditions(pod).get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return Problem(
            reason="InsufficientCapacity",
            message=f"Pod {name} fits on no node: {_quote(scheduled)} "
            "Add nodes, ask for less in spec.stages, or use rollout strategy InPlace.",
        )
    for status in _container_statuses(pod):
        if problem := _find_container_problem(name, status):
            return problem
    return None


def _find_container_problem(pod: str, status: Manifest) -> Problem | None:
    container = status["name"]
    waiting = status.get("state", {}).get("waiting") or {}
    if waiting.get("reason") in {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}:
        return Problem(
            reason="ImagePullFailed",
            message=f"Pod {pod} cannot get its image: {_quote(waiting)} "
            "Check the image's name, and imagePullSecrets in spec.podTemplate.",
        )
    if waiting.get("reason") in {"CreateContainerConfigError", "CreateContainerError"}:
        return Problem(
            reason="PodMisconfigured",
            message=f"Pod {pod} cannot start: {_quote(waiting)} "
            "Make what it names, or correct spec.podTemplate or spec.model.token.",
        )
    ended = _last_failure(status)
    if ended is None:
        return None
    said = _quote(ended, f"{ended.get('reason', 'Error')}, exit code {ended['exitCode']}")
    if container == FETCH_CONTAINER:
        return Problem(
            reason="ModelFetchFailed",
            message=f"Pod {pod} cannot fetch the model: {said} See `kubectl logs {pod} -c {container}`.",
        )
    if container == CONTAINER and ended.get("reason") == "OOMKilled":
        return Problem(
            reason="OutOfMemory",
            message=f"Pod {pod} needs more memory than its limit: raise its stage's resources.limits.memory.",
        )
    return Problem(
        reason="ServerCrashed",
        message=f"Container {container} of pod {pod} keeps ending: {said} "
        f"See `kubectl logs {pod} -c {container} --previous`.",
    )


def build_refusal(said: str) -> Problem:
    """Why the API server does not take what was to be written."""
    return Problem(
        reason="Refused",
        message=f"The cluster refuses what this makes: {_quote({'message': said})} "
        "Correct spec.podTemplate, or the namespace's quota and policies.",
    )


def _quote(said: Manifest, otherwise: str = "") -> str:
    """Its message. Of a long one, such as the end of a log, the first line and the last ones."""
    text = str(said.get("message") or otherwise or said.get("reason", "")).strip()
    if len(text) <= HEAD + TAIL:
        return text
    head, _, _ = text[:HEAD].partition("\n")
    tail = text[-TAIL:]
    _, _, last_lines = tail.partition("\n")
    return f"{head} ... {last_lines or tail}"


def _last_failure(status: Manifest) -> Manifest | None:
    """Also of one that runs again: until it is ready, how it ended last is what is known of it."""
    for state in (status.get("state", {}), status.get("lastState", {})):
        ended = state.get("terminated")
        if ended and ended.get("exitCode"):
            return dict(ended)
    return None


def _is_fetched(pod: Manifest) -> bool:
    """Also where there is nothing to fetch: then the container's start is the proof."""
    statuses = {status["name"]: status for status in _container_statuses(pod)}
    fetch = statuses.get(FETCH_CONTAINER)
    if fetch is not None:
        return bool((fetch.get("state", {}).get("terminated") or {}).get("exitCode") == 0)
    return bool(statuses.get(CONTAINER, {}).get("state", {}).get("running"))


def _container_statuses(pod: Manifest) -> list[Manifest]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _is_over(pod: Manifest) -> bool:
    """An evicted pod stays on record for a while, but holds nothing."""
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def _leaves(child: Manifest) -> bool:
    return "deletionTimestamp" in child["metadata"]


def _label(child: Manifest, name: str) -> str:
    return str(child["metadata"].get("labels", {}).get(name, ""))


def _conditions(child: Manifest) -> dict[str, Manifest]:
    return {condition["type"]: condition for condition in child.get("status", {}).get("conditions") or ()}
