"""The models of a cluster: every OmniDeployment that is watched, under the name that callers use.

`open_cluster_catalog` is called by `services`. Events of the watches go into the view; what they change goes
on to the pools, to the routes that the operator asks for, and to the gauges.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import orjson
from kubernetes.aio.client import ApiClient

from tercet_gateway.background import beside
from tercet_gateway.cluster.kube import DEPLOYMENTS, SLICES, KubeSource, open_api
from tercet_gateway.cluster.objects import Deployment, Ref
from tercet_gateway.cluster.view import ClusterView, Event
from tercet_gateway.cluster.watching import Watch
from tercet_gateway.errors import RequestError, ServiceError
from tercet_gateway.metering import show_zeros
from tercet_gateway.metrics import Metrics
from tercet_gateway.models import Model, Served, unknown_model
from tercet_gateway.settings import VOICES, ClusterSettings
from tercet_gateway.stages.checking import Checks
from tercet_gateway.stages.pool import StagePool


class ClusterCatalog:
    """`receive` is what the watches call. `is_qualified`: model names begin with the namespace."""

    def __init__(self, checks: Checks, connect_s: float, metrics: Metrics, *, is_qualified: bool) -> None:
        self._checks = checks
        self._connect_s = connect_s
        self._metrics = metrics
        self._is_qualified = is_qualified
        self._view = ClusterView()
        self._pools: dict[Ref, StagePool] = {}
        self._routes: dict[str, dict[str, dict[str, int]]] = {}
        self._open: set[Ref] = set()
        self._watches: Sequence[Watch] = ()
        self._has_begun = False
        metrics.show_routes(self.render_routes)
        metrics.cluster.deployments.set_function(lambda: len(self._view.deployments))
        metrics.cluster.routable.set_function(lambda: len(self._open))

    # --- what callers ask ----------------------------------------------------------------------

    def find(self, name: str) -> Served:
        refs = self._view.find(name)
        if not refs and not self.is_synced:
            raise ServiceError(
                "This server has just started. Try again shortly.",
                status=503,
                code="starting",
                retry_after_s=1,
            )
        if len(refs) != 1:
            raise _not_one(name, refs)
        ref = refs[0]
        deployment, pool = self._view.deployments[ref], self._pool(ref)
        return Served(
            model=self._build_model(deployment),
            pool=pool,
            closed_because=None if pool.is_open else explain_closed(deployment),
        )

    def list_models(self) -> list[Model]:
        return [self._build_model(self._view.deployments[ref]) for ref in sorted(self._view.deployments)]

    async def show_readiness(self) -> dict[str, object]:
        """Once all is listed and every server was asked: its answer is no fault of this gateway."""
        self._has_begun = self._has_begun or (self.is_synced and self._checks.have_asked_all)
        return {"ready": self._has_begun and self.is_synced}

    def _build_model(self, deployment: Deployment) -> Model:
        return Model(
            id=self._name(deployment.ref),
            voice=deployment.voice,
            voices=tuple(dict.fromkeys((*VOICES, deployment.voice))),
            created=deployment.created,
            queue_s=deployment.queue_s,
        )

    def _name(self, ref: Ref) -> str:
        return str(ref) if self._is_qualified else ref.name

    # --- what the operator asks, from a thread of its own ----------------------------------------

    def render_routes(self) -> bytes:
        """`tercet_wire.status.Routes`; each deployment's part is replaced as a whole, never changed."""
        return orjson.dumps({"deployments": self._routes.copy()})

    # --- what the watches bring ----------------------------------------------------------------

    @property
    def is_synced(self) -> bool:
        return all(watch.is_synced for watch in self._watches)

    def follow(self, watches: Sequence[Watch]) -> None:
        self._watches = watches

    async def receive(self, event: Event) -> None:
        for ref in self._view.receive(event):
            await self._refresh(ref)
            await asyncio.sleep(0)  # a first list holds thousands; turns go on in between

    async def _refresh(self, ref: Ref) -> None:
        """A deployment that is deleted keeps its pool until its servers are gone: running turns end there."""
        fleet = self._view.build_fleet(ref)
        pool = self._pool(ref)
        if ref not in self._view.deployments and not fleet.endpoints:
            del self._pools[ref]
            self._metrics.forget(self._name(ref))
        await pool.update(fleet)

    def _pool(self, ref: Ref) -> StagePool:
        pool = self._pools.get(ref)
        if pool is None:
            pool = self._pools[ref] = StagePool(self._checks, self._connect_s, partial(self._note, ref))
        return pool

    def _note(self, ref: Ref) -> None:
        """Called by a pool when its servers have come, gone or changed."""
        pool = self._pools.get(ref)
        if pool is not None and (reachable := pool.count_reachable()):
            self._routes[str(ref)] = reachable
        else:
            self._routes.pop(str(ref), None)
        if pool is not None and pool.is_open and ref in self._view.deployments:
            if ref not in self._open:
                show_zeros(self._metrics, self._name(ref))
            self._open.add(ref)
        else:
            self._open.discard(ref)

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()


def explain_closed(deployment: Deployment) -> str:
    """Why no turn can begin, as the operator says; if it says nothing is wrong, its word is ahead of ours."""
    readiness = deployment.readiness
    if readiness is None:
        return "It has no status yet."
    if readiness.is_true:
        return "Its servers are not known here yet."
    return f"{readiness.reason}: {readiness.message}"


def _not_one(name: str, refs: Sequence[Ref]) -> RequestError:
    choices = " or ".join(f"'{ref}'" for ref in refs)
    return unknown_model(name, f" Several namespaces have one: ask for {choices}." if refs else "")


@asynccontextmanager
async def open_cluster_catalog(
    settings: ClusterSettings, checks: Checks, connect_s: float, metrics: Metrics
) -> AsyncIterator[ClusterCatalog]:
    """Watching, as long as the block lasts."""
    catalog = ClusterCatalog(checks, connect_s, metrics, is_qualified=len(settings.namespaces) != 1)
    async with open_api(settings) as api:
        watches = _build_watches(settings, api, catalog, metrics)
        catalog.follow(watches)
        try:
            async with beside(*(watch.run() for watch in watches)):
                yield catalog
        finally:
            await catalog.close()


def _build_watches(
    settings: ClusterSettings, api: ApiClient, catalog: ClusterCatalog, metrics: Metrics
) -> list[Watch]:
    watches: list[Watch] = []
    for kind in (DEPLOYMENTS, SLICES):
        of_kind = [
            Watch(f"{kind.plural} in {namespace or 'all'}", KubeSource(api, kind, namespace), catalog.receive)
            for namespace in settings.namespaces or (None,)
        ]
        metrics.cluster.watch_age.labels(kind.plural).set_function(partial(_longest_age_s, of_kind))
        watches += of_kind
    return watches


def _longest_age_s(watches: Sequence[Watch]) -> float:
    return max(watch.age_s() for watch in watches)
