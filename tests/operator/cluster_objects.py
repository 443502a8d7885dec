"""Objects as an API server shows them: pods with the statuses that kubelets write, and what is around them.

Shapes are those of Kubernetes 1.35, with what no test looks at left out.
"""

from typing import Any

from tercet_operator.resources.naming import Owner
from tercet_wire.names import KIND, LABEL_DEPLOYMENT, LABEL_GENERATION, LABEL_STAGE

Manifest = dict[str, Any]
OWNER = Owner(namespace="speech", name="demo", uid="owner-1")
GENERATION = "aaaa1111"
TRUE_READY = ({"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"})
SCHEDULED = ({"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"})


def build_resource(*, version: int = 1, uid: str = OWNER.uid, **spec: Any) -> Manifest:
    return {
        "apiVersion": "tercet.dev/v1alpha1",
        "kind": KIND,
        "metadata": {
            "name": OWNER.name,
            "namespace": OWNER.namespace,
            "uid": uid,
            "generation": 1,
            "resourceVersion": str(version),
        },
        "spec": {"model": {"source": "demo://tiny"}, **spec},
    }


def build_child(
    kind: str, name: str, *, version: int = 1, uid: str = "", owner: str = OWNER.name, **rest: Any
) -> Manifest:
    return {
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": OWNER.namespace,
            "uid": uid or f"{kind}-{name}",
            "resourceVersion": str(version),
            "labels": {LABEL_DEPLOYMENT: owner},
        },
        **rest,
    }


def build_pod(
    stage: str = "thinker",
    *,
    name: str = "",
    generation: str = GENERATION,
    phase: str = "Running",
    conditions: tuple[Manifest, ...] = SCHEDULED,
    containers: tuple[Manifest, ...] = (),
    init_containers: tuple[Manifest, ...] = (),
    leaving: bool = False,
) -> Manifest:
    pod = build_child("Pod", name or f"demo-{stage}-{generation}-x")
    pod["metadata"]["labels"] |= {LABEL_STAGE: stage, LABEL_GENERATION: generation}
    if leaving:
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    pod["status"] = {
        "phase": phase,
        "conditions": list(conditions),
        "containerStatuses": list(containers),
        "initContainerStatuses": list(init_containers),
    }
    return pod


def build_ready_pod(stage: str = "thinker", **rest: Any) -> Manifest:
    return build_pod(
        stage,
        conditions=TRUE_READY,
        containers=(show_container("triton", running={"startedAt": "2026-01-01T00:00:00Z"}),),
        init_containers=(show_container("fetch", terminated={"exitCode": 0, "reason": "Completed"}),),
        **rest,
    )


def show_container(name: str, *, last: Manifest | None = None, **state: Any) -> Manifest:
    """A container status; `state` is one of running, waiting and terminated."""
    return {
        "name": name,
        "image": "tercet/engine-cpu:0.1.0",
        "restartCount": int(last is not None),
        "state": dict(state),
        "lastState": {"terminated": last} if last else {},
    }
