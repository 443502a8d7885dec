"""From deployments and the addresses of their replicas to the gateway's settings document: pure.

Written to a file by `tercet up` and into a ConfigMap by the operator. The gateway owns the document's shape;
a test feeds what is built here to the gateway's own reader.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tercet_wire.names import GATEWAY_METRICS_PORT, GATEWAY_PORT, Stage
from tercet_wire.spec import OmniDeployment

Endpoints = Mapping[Stage, Sequence[str]]
"""Triton's gRPC addresses, `host:port`, of each stage's replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A deployment that runs. `voices`: its checkpoint's; none means the published ones."""

    deployment: OmniDeployment
    endpoints: Endpoints
    voices: Sequence[str] = ()


def build_gateway_settings(
    models: Mapping[str, Serving],
    *,
    host: str,
    port: int = GATEWAY_PORT,
    metrics_port: int = GATEWAY_METRICS_PORT,
    drain_s: int = 30,
    media_hosts: Sequence[str] = (),
    namespaces: Sequence[str] | None = None,
) -> dict[str, Any]:
    """`models` by the name that callers use; `media_hosts` are those that media URLs may point to.

    `namespaces` in place of models: the gateway watches the OmniDeployments there, with () in all namespaces.
    """
    cluster = {} if namespaces is None else {"cluster": {"namespaces": list(namespaces)}}
    return {
        **cluster,
        "host": host,
        "port": port,
        "metrics_port": metrics_port,
        "timeouts": {"drain_s": drain_s},
        "media": {"allowed_hosts": list(media_hosts)},
        "deployments": [_build_deployment(model, serving) for model, serving in models.items()],
    }


def _build_deployment(model: str, serving: Serving) -> dict[str, Any]:
    voices = {"voices": list(serving.voices)} if serving.voices else {}
    stages = serving.deployment.spec.stages
    return {
        "model": model,
        "endpoints": {stage.value: list(serving.endpoints[stage]) for stage in Stage},
        "voice": serving.deployment.spec.speech.voice,
        "queue_s": max(stages.of(stage).queue_seconds for stage in Stage),
        **voices,
    }
