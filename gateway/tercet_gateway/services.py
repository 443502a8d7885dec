"""What lives as long as the process: connections, threads, counters.

Opened once by the app's lifespan, kept on `app.state.services`, read by the routes.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tercet_gateway.admission import Admission
from tercet_gateway.background import beside
from tercet_gateway.cluster.catalog import open_cluster_catalog
from tercet_gateway.media.reader import MediaReader
from tercet_gateway.metering import show_zeros
from tercet_gateway.metrics import Metrics
from tercet_gateway.models import Catalog, Served, StaticCatalog, build_fleet, build_model
from tercet_gateway.replay_memory import ReplayMemory
from tercet_gateway.settings import Settings
from tercet_gateway.stages.checking import Checks
from tercet_gateway.stages.pool import StagePool
from tercet_gateway.transcripts import Transcripts


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """`parsers`: threads for bodies too large to parse on the loop. `closing`: turns are to end now."""

    settings: Settings
    metrics: Metrics
    admission: Admission
    replay_memory: ReplayMemory
    transcripts: Transcripts
    media: MediaReader
    catalog: Catalog
    parsers: ThreadPoolExecutor
    closing: asyncio.Event


@asynccontextmanager
async def open_services(
    settings: Settings, metrics: Metrics, closing: asyncio.Event
) -> AsyncIterator[Services]:
    async with AsyncExitStack() as stack:
        admission = Admission(settings.limits)
        metrics.in_flight.set_function(lambda: admission.in_flight)
        metrics.held_bytes.set_function(lambda: admission.held_bytes)
        replay_memory = ReplayMemory(settings.limits)
        metrics.replay_bytes.set_function(lambda: replay_memory.held_bytes)
        yield Services(
            settings=settings,
            metrics=metrics,
            admission=admission,
            replay_memory=replay_memory,
            transcripts=Transcripts(),
            media=await stack.enter_async_context(MediaReader(settings.media)),
            catalog=await stack.enter_async_context(_open_catalog(settings, metrics)),
            parsers=stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="parse")),
            closing=closing,
        )


@asynccontextmanager
async def _open_catalog(settings: Settings, metrics: Metrics) -> AsyncIterator[Catalog]:
    """With the checks of its servers running beside it."""
    checks = Checks()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(beside(checks.run()))
        if settings.cluster is None:
            yield await stack.enter_async_context(_open_static_catalog(settings, checks, metrics))
        else:
            connect_s = settings.timeouts.connect_s
            cluster = open_cluster_catalog(settings.cluster, checks, connect_s, metrics)
            yield await stack.enter_async_context(cluster)


@asynccontextmanager
async def _open_static_catalog(
    settings: Settings, checks: Checks, metrics: Metrics
) -> AsyncIterator[StaticCatalog]:
    served = {}
    async with AsyncExitStack() as stack:
        for deployment in settings.deployments:
            pool = StagePool(checks, settings.timeouts.connect_s)
            stack.push_async_callback(pool.close)
            await pool.update(build_fleet(deployment))
            show_zeros(metrics, deployment.model)
            served[deployment.model] = Served(model=build_model(deployment), pool=pool)
        yield StaticCatalog(served)
