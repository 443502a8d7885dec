"""A fake Triton over real gRPC, the real gateway over real HTTP, and clients to drive it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from openai import AsyncOpenAI
from tercet_gateway.app import create_app
from tercet_gateway.connections import BoundedHttp
from tercet_gateway.metrics import Metrics
from tercet_gateway.serving import LAST_WORDS_S, DrainingServer
from tercet_gateway.settings import Deployment, Endpoints, Limits, Settings, Timeouts

from tests.gateway.fake_triton import FakeTriton, serve_fake_triton

MODEL = "qwen-omni"


@dataclass(frozen=True)
class Gateway:
    """A running gateway; `sdk` does not retry, `http` keeps its own connections."""

    port: int
    metrics: Metrics
    sdk: AsyncOpenAI
    http: httpx.AsyncClient

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"tercet_gateway_{name}", labels) or 0.0


def build_settings(
    *endpoints: str, limits: Limits | None = None, timeouts: Timeouts | None = None
) -> Settings:
    everywhere = Endpoints(thinker=endpoints, talker=endpoints, code2wav=endpoints)
    return Settings(
        deployments=(Deployment(model=MODEL, endpoints=everywhere),),
        limits=limits or Limits(),
        timeouts=timeouts or Timeouts(connect_s=1, heartbeat_s=30, drain_s=0),
    )


@asynccontextmanager
async def serve_gateway(
    settings: Settings, *, http: type[BoundedHttp] = BoundedHttp
) -> AsyncIterator[Gateway]:
    metrics, closing = Metrics(), asyncio.Event()
    config = uvicorn.Config(
        create_app(settings, metrics, closing),
        http=http,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=settings.timeouts.drain_s + LAST_WORDS_S,
    )
    config.load()
    server = DrainingServer(config, closing, settings.timeouts.drain_s)
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        await server.startup(sockets=[listener])
        url = f"http://127.0.0.1:{port}"
        sdk = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=20)
        async with sdk, httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
            yield Gateway(port, metrics, sdk, client)
        await server.shutdown(sockets=[listener])


@pytest.fixture
async def triton() -> AsyncIterator[FakeTriton]:
    async with serve_fake_triton() as fake:
        yield fake


@pytest.fixture
async def gateway(triton: FakeTriton) -> AsyncIterator[Gateway]:
    async with serve_gateway(build_settings(triton.endpoint)) as running:
        yield running


@pytest.fixture
def serve(triton: FakeTriton) -> Callable[..., AbstractAsyncContextManager[Gateway]]:
    """A gateway with other limits or timeouts in front of the same fake."""

    def start(
        *, limits: Limits | None = None, timeouts: Timeouts | None = None
    ) -> AbstractAsyncContextManager[Gateway]:
        return serve_gateway(build_settings(triton.endpoint, limits=limits, timeouts=timeouts))

    return start


async def eventually(is_true: Callable[[], bool]) -> None:
    """Give the loop to others until it is so."""
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110 - a count has no event to wait on
            await asyncio.sleep(0)
