"""The pod of one kind of server: Triton with its stages, the fetch before it, the drain after it. Pure.

Called by `servers`. Passes the restricted Pod Security level. The arguments and settings are those that
`tercet up` gives its processes; what the user's podTemplate says is laid over all this.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tercet_wire.names import (
    COLOCATED,
    DEFAULT_SETTINGS_DIR,
    GRPC_PORT_NAME,
    SERVER_CONTAINER,
    TRITON_GRPC_PORT,
    TRITON_HTTP_PORT,
    TRITON_METRICS_PORT,
    Stage,
)
from tercet_wire.spec import ModelSpec, OmniDeployment

from tercet_operator.resources.computing import build_fetch_resources, build_resources
from tercet_operator.resources.merging import merge
from tercet_operator.resources.model_volume import ModelVolume
from tercet_operator.resources.triton import (
    EXIT_TIMEOUT_S,
    Place,
    ServerPlan,
    build_arguments,
    build_environment,
)
from tercet_operator.settings import Images

CONTAINER: Final = SERVER_CONTAINER
FETCH_CONTAINER: Final = "fetch"
USER_ID: Final = 10001
PROBE_S: Final = 5
LEAVING_MARGIN_S: Final = 20
"""Between the end of the drain and the kill: the drain's own pause and Triton's exit."""
TOKEN_VARIABLES: Final[Mapping[str, str]] = {"hf": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}

_RESTRICTED: Final[Mapping[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlan:
    """All that makes the pods of one kind of server."""

    deployment: OmniDeployment
    server: ServerPlan
    images: Images
    volume: ModelVolume

    @property
    def image(self) -> str:
        return self.images.engine if self.server.gpus else self.images.engine_cpu


def build_pod(plan: PodPlan) -> dict[str, Any]:
    """A PodTemplateSpec without the labels and the settings volume, which need the generation."""
    spec = plan.deployment.spec
    rollout = spec.rollout
    ours: dict[str, Any] = {
        "metadata": {"annotations": {"kubectl.kubernetes.io/default-container": CONTAINER}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationGracePeriodSeconds": rollout.drain_seconds + EXIT_TIMEOUT_S + LEAVING_MARGIN_S,
            "initContainers": _build_fetch(plan),
            "containers": [_build_triton(plan)],
            "volumes": [
                plan.volume.volume,
                {"name": "tmp", "emptyDir": {}},
                # Triton and its stages hand tensors to each other in shared memory.
                {"name": "shm", "emptyDir": {"medium": "Memory"}},
            ],
        },
    }
    merged = merge(ours, spec.pod_template)
    if plan.server.kind != COLOCATED:
        merged = merge(merged, spec.stages.of(Stage(plan.server.kind)).pod_template)
    return merged


def build_place(server: ServerPlan) -> Place:
    """Where the images of `Dockerfile` keep what a server needs."""
    return Place(
        model_repository=f"/opt/tercet/models/{server.kind}",
        backend_directory="/opt/tritonserver/backends",
        settings_directory=DEFAULT_SETTINGS_DIR,
    )


def _build_triton(plan: PodPlan) -> dict[str, Any]:
    place = build_place(plan.server)
    ready_model = plan.server.models[-1]  # the ensemble where there is one: it is ready when its stages are
    startup_failures = -(-plan.deployment.spec.rollout.startup_seconds // PROBE_S)
    return {
        "name": CONTAINER,
        "image": plan.image,
        "imagePullPolicy": plan.images.pull_policy,
        "command": ["tritonserver"],
        "args": list(build_arguments(plan.server, place)),
        "env": _build_env(build_environment(plan.server, place)),
        "ports": [
            {"name": "http", "containerPort": TRITON_HTTP_PORT, "protocol": "TCP"},
            {"name": GRPC_PORT_NAME, "containerPort": TRITON_GRPC_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": TRITON_METRICS_PORT, "protocol": "TCP"},
        ],
        "resources": build_resources(plan.deployment, plan.server),
        "startupProbe": _build_probe("/v2/health/live", startup_failures),
        "livenessProbe": _build_probe("/v2/health/live", 6),
        # Per model: a server answers "ready" while its models still load, and after they have died.
        "readinessProbe": _build_probe(f"/v2/models/{ready_model}/ready", 2),
        "lifecycle": {"preStop": {"exec": {"command": _drain_command(plan.deployment)}}},
        "securityContext": dict(_RESTRICTED),
        "volumeMounts": [
            plan.volume.mount(read_only=True),
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # in a pod of its own
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        ],
    }


def _build_fetch(plan: PodPlan) -> list[dict[str, Any]]:
    """Nothing to do for a claim that holds the model already, or a folder that the pod template mounts."""
    model = plan.deployment.spec.model
    if not plan.volume.needs_fetch:
        return []
    return [
        {
            "name": FETCH_CONTAINER,
            "image": plan.image,
            "imagePullPolicy": plan.images.pull_policy,
            "command": [
                "tercet",
                "fetch",
                model.source,
                f"--revision={model.revision}",
                f"--cache={plan.volume.path}",
                f"--link={plan.volume.checkpoint}",
            ],
            "env": [{"name": "HOME", "value": "/tmp"}, *_build_token(model)],  # noqa: S108
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "resources": build_fetch_resources(plan.deployment, plan.server),
            "securityContext": dict(_RESTRICTED),
            "volumeMounts": [plan.volume.mount(read_only=False), {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
        }
    ]


def _build_token(model: ModelSpec) -> list[dict[str, Any]]:
    variable = TOKEN_VARIABLES.get(model.source.partition("://")[0])
    if model.token is None or variable is None:
        return []
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": model.token.name, "key": model.token.key}}}
    ]


def _drain_command(deployment: OmniDeployment) -> list[str]:
    return ["python3", "-m", "tercet_host.drain", f"--limit={deployment.spec.rollout.drain_seconds}"]


def _build_probe(path: str, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": PROBE_S,
        "timeoutSeconds": PROBE_S,
        "failureThreshold": failures,
    }


def _build_env(variables: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in variables.items()]
