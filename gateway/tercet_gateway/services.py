"""What lives as long as the process: connections, threads, counters.

Opened once by the app's lifespan, kept on `app.state.services`, read by the routes.
"""

from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tercet_gateway.admission import Admission
from tercet_gateway.errors import RequestError
from tercet_gateway.media.reader import MediaReader
from tercet_gateway.metrics import Metrics
from tercet_gateway.settings import Settings
from tercet_gateway.stages.pool import StagePool
from tercet_gateway.transcripts import Transcripts


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """`parsers`: threads for bodies too large to parse on the loop."""

    settings: Settings
    metrics: Metrics
    admission: Admission
    transcripts: Transcripts
    media: MediaReader
    pools: Mapping[str, StagePool]
    parsers: ThreadPoolExecutor

    def pool(self, model: str) -> StagePool:
        pool = self.pools.get(model)
        if pool is None:
            raise RequestError(
                f"The model '{model[:100]}' does not exist.",
                status=404,
                code="model_not_found",
                param="model",
            )
        return pool


@asynccontextmanager
async def open_services(settings: Settings, metrics: Metrics) -> AsyncIterator[Services]:
    async with AsyncExitStack() as stack:
        admission = Admission(settings.limits)
        metrics.in_flight.set_function(lambda: admission.in_flight)
        metrics.held_bytes.set_function(lambda: admission.held_bytes)
        pools = {}
        for deployment in settings.deployments:
            pool = pools[deployment.model] = StagePool(deployment, settings.timeouts.connect_s)
            stack.push_async_callback(pool.close)
        yield Services(
            settings=settings,
            metrics=metrics,
            admission=admission,
            transcripts=Transcripts(),
            media=await stack.enter_async_context(MediaReader(settings.media)),
            pools=pools,
            parsers=stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="parse")),
        )
