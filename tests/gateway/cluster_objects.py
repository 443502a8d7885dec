"""OmniDeployments and EndpointSlices as the API server holds them, with what the gateway reads of them."""

from collections.abc import Sequence
from typing import Any

from tercet_wire.names import (
    API_GROUP,
    API_VERSION,
    GRPC_PORT_NAME,
    KIND,
    LABEL_DEPLOYMENT,
    LABEL_GENERATION,
    LABEL_MANAGED_BY,
    LABEL_STAGE,
    MANAGER,
)

NAMESPACE = "team-a"
OLD, NEW = "00000001", "00000002"
READY = {"ready": True, "serving": True, "terminating": False}
DRAINING = {"ready": False, "serving": True, "terminating": True}


def build_deployment(
    name: str = "assistant", *, namespace: str = NAMESPACE, voice: str = "Chelsie"
) -> dict[str, Any]:
    return {
        "apiVersion": f"{API_GROUP}/{API_VERSION}",
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": {"source": "demo://tiny"}, "speech": {"voice": voice}},
    }


def build_status(
    *serving: str, ready: bool = True, reason: str = "Serving", message: str = "All is well."
) -> dict[str, Any]:
    condition = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    return {"conditions": [condition], "servingGenerations": list(serving)}


def build_slice(
    stage: str,
    port: int,
    *,
    generation: str = NEW,
    deployment: str = "assistant",
    namespace: str = NAMESPACE,
    addresses: Sequence[str] = ("127.0.0.1",),
    conditions: dict[str, bool] | None = None,
) -> dict[str, Any]:
    """All its endpoints are in one state; named after stage and generation, as their Service is."""
    name = f"{deployment}-{stage}-{generation}"
    labels = {
        LABEL_MANAGED_BY: MANAGER,
        LABEL_DEPLOYMENT: deployment,
        LABEL_STAGE: stage,
        LABEL_GENERATION: generation,
        "kubernetes.io/service-name": name,
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [a], "conditions": dict(conditions or READY)} for a in addresses],
        "ports": [
            {"name": "metrics", "port": 1, "protocol": "TCP"},
            {"name": GRPC_PORT_NAME, "port": port, "protocol": "TCP"},
        ],
    }
