"""What callers may name: models, and the pools of servers behind them.

The routes ask a Catalog; `StaticCatalog` serves the deployments of the settings file, `cluster.catalog` those
of a Kubernetes cluster.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from tercet_wire.names import Stage

from tercet_gateway.errors import RequestError, ServiceError
from tercet_gateway.settings import Deployment
from tercet_gateway.stages.fleet import Endpoint, Fleet
from tercet_gateway.stages.pool import StagePool

_COME_AGAIN_S: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`voice`: of a spoken reply where the API lets the caller leave it out; `created`: Unix time.

    `queue_s`: longest that a stage lets a turn wait for a place, where that is known.
    """

    id: str
    voice: str
    voices: tuple[str, ...]
    created: int = 0
    queue_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model and its servers. `closed_because`: why no turn can begin, None if one can."""

    model: Model
    pool: StagePool
    closed_because: str | None = None

    def check_open(self) -> None:
        if self.closed_because is not None:
            raise ServiceError(
                f"The model '{self.model.id}' is not ready. {self.closed_because}",
                status=503,
                code="model_not_ready",
                retry_after_s=_COME_AGAIN_S,
            )


class Catalog(Protocol):
    def find(self, name: str) -> Served:
        """GatewayError when callers cannot have a model of this name."""

    def list_models(self) -> list[Model]: ...

    async def show_readiness(self) -> dict[str, object]:
        """What /readyz answers; "ready" is in it."""


def unknown_model(name: str, hint: str = "") -> RequestError:
    return RequestError(
        f"The model '{name[:100]}' does not exist.{hint}", status=404, code="model_not_found", param="model"
    )


class StaticCatalog:
    def __init__(self, served: Mapping[str, Served]) -> None:
        self._served = served

    def find(self, name: str) -> Served:
        served = self._served.get(name)
        if served is None:
            raise unknown_model(name)
        return served

    def list_models(self) -> list[Model]:
        return [served.model for served in self._served.values()]

    async def show_readiness(self) -> dict[str, object]:
        """Every stage of every deployment has a replica that serves, asked just now."""
        unready = await asyncio.gather(*(served.pool.list_unready() for served in self._served.values()))
        deployments = {
            name: {stage.value: stage not in stages for stage in Stage}
            for name, stages in zip(self._served, unready, strict=True)
        }
        return {"ready": not any(unready), "deployments": deployments}


def build_fleet(deployment: Deployment) -> Fleet:
    """One generation. A server of several stages is one endpoint; a stage without any is not missed."""
    stages_at: dict[str, set[Stage]] = {}
    for stage in Stage:
        for address in deployment.endpoints.of(stage):
            stages_at.setdefault(address, set()).add(stage)
    return Fleet(
        endpoints=tuple(
            Endpoint(address=address, stages=frozenset(stages)) for address, stages in stages_at.items()
        ),
        stages=frozenset[Stage]().union(*stages_at.values()),
    )


def build_model(deployment: Deployment) -> Model:
    return Model(
        id=deployment.model,
        voice=deployment.voice,
        voices=deployment.voices,
        created=deployment.created,
        queue_s=deployment.queue_s,
    )
