"""From deployments and the addresses of their replicas to the gateway's settings document: pure.

Written to a file by `tercet up` and into a ConfigMap by the operator. The gateway owns the document's shape;
a test feeds what is built here to the gateway's own reader.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tercet_wire.names import GATEWAY_METRICS_PORT, GATEWAY_PORT, Stage
from tercet_wire.spec import OmniDeployment

Endpoints = Mapping[Stage, Sequence[str]]
"""Triton's gRPC addresses, `host:port`, of each stage's replicas."""


def build_gateway_settings(
    deployments: Mapping[str, tuple[OmniDeployment, Endpoints]],
    *,
    host: str,
    port: int = GATEWAY_PORT,
    metrics_port: int = GATEWAY_METRICS_PORT,
    drain_s: int = 30,
) -> dict[str, Any]:
    """`deployments` by the model name that callers use."""
    return {
        "host": host,
        "port": port,
        "metrics_port": metrics_port,
        "timeouts": {"drain_s": drain_s},
        "deployments": [
            _build_deployment(model, deployment, endpoints)
            for model, (deployment, endpoints) in deployments.items()
        ],
    }


def _build_deployment(model: str, deployment: OmniDeployment, endpoints: Endpoints) -> dict[str, Any]:
    return {
        "model": model,
        "endpoints": {stage.value: list(endpoints[stage]) for stage in Stage},
        "voice": deployment.spec.speech.voice,
    }
