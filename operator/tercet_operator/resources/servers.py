"""One kind of server in one generation: Deployment, headless Service, settings. Pure, called by `plan`.

The generation is the hash of all that makes pods, taken over all kinds of a deployment, so that the servers
of one generation always agree with each other.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from tercet_wire.names import (
    DEFAULT_SETTINGS_DIR,
    GRPC_PORT_NAME,
    TRITON_GRPC_PORT,
    TRITON_METRICS_PORT,
)
from tercet_wire.spec import OmniDeployment

from tercet_operator.resources.merging import merge
from tercet_operator.resources.model_volume import build_model_volume
from tercet_operator.resources.naming import Owner, generation_selector, server_name
from tercet_operator.resources.pods import CONTAINER, PodPlan, build_pod
from tercet_operator.resources.triton import ServerPlan, build_servers, build_settings_files
from tercet_operator.settings import Images

POD_CORES: Final = 3
"""CPU threads of a server whose spec does not give them: one for each stage."""
SETTINGS_ANNOTATION: Final = "tercet.dev/settings"

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerKind:
    """One kind of server of the generation that the spec asks for."""

    plan: ServerPlan
    pod: Manifest
    files: dict[str, str]

    @property
    def name(self) -> str:
        return self.plan.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    digest: str
    kinds: tuple[ServerKind, ...]


def build_generation(deployment: OmniDeployment, images: Images) -> Generation:
    volume = build_model_volume(deployment)
    plans = build_servers(deployment, checkpoint=volume.checkpoint, cores=POD_CORES)
    kinds = tuple(
        ServerKind(
            plan=plan,
            pod=build_pod(PodPlan(deployment=deployment, server=plan, images=images, volume=volume)),
            files=dict(build_settings_files(plan)),
        )
        for plan in plans
    )
    return Generation(digest=_digest([[kind.name, kind.pod, kind.files] for kind in kinds]), kinds=kinds)


def build_deployment(
    owner: Owner, kind: ServerKind, generation: str, *, replicas: int | None, startup_s: int
) -> Manifest:
    """`replicas`: None where another scales it; then the field is not ours to write."""
    name = server_name(owner.name, kind.name, generation)
    labels = owner.generation_labels(kind.name, generation)
    spec: dict[str, Any] = {
        "selector": {"matchLabels": generation_selector(owner.name, kind.name, generation)},
        "progressDeadlineSeconds": startup_s,
        "revisionHistoryLimit": 0,  # a new template is a new generation
        "template": _complete_pod(owner, kind, generation),
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owner.metadata(name, labels),
        "spec": spec,
    }


def build_service(owner: Owner, kind: str, generation: str) -> Manifest:
    """Headless: gateways pick the pods themselves, from its endpoint slices, which get its labels."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owner.metadata(
            server_name(owner.name, kind, generation), owner.generation_labels(kind, generation)
        ),
        "spec": {
            "clusterIP": "None",
            "selector": generation_selector(owner.name, kind, generation),
            "ports": [
                {
                    "name": GRPC_PORT_NAME,
                    "port": TRITON_GRPC_PORT,
                    "targetPort": GRPC_PORT_NAME,
                    "protocol": "TCP",
                },
                {"name": "metrics", "port": TRITON_METRICS_PORT, "targetPort": "metrics", "protocol": "TCP"},
            ],
        },
    }


def build_settings(owner: Owner, kind: ServerKind, generation: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owner.metadata(
            server_name(owner.name, kind.name, generation), owner.generation_labels(kind.name, generation)
        ),
        "data": kind.files,
        "immutable": True,
    }


def _complete_pod(owner: Owner, kind: ServerKind, generation: str) -> Manifest:
    """Labels and settings last: no template may take a pod out of its generation."""
    labels = owner.generation_labels(kind.name, generation)
    selector = generation_selector(owner.name, kind.name, generation)
    rest = {
        "metadata": {"labels": labels, "annotations": {SETTINGS_ANNOTATION: _digest(kind.files)}},
        "spec": {
            "containers": [
                {
                    "name": CONTAINER,
                    "volumeMounts": [
                        {"name": "settings", "mountPath": DEFAULT_SETTINGS_DIR, "readOnly": True}
                    ],
                }
            ],
            "volumes": [
                {
                    "name": "settings",
                    "configMap": {"name": server_name(owner.name, kind.name, generation)},
                }
            ],
        },
    }
    spread = {
        "spec": {
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": selector},
                }
            ]
        }
    }
    return merge(merge(spread, kind.pod), rest)


def _digest(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]
