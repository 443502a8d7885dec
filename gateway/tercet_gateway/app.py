"""The ASGI application: routes, error responses, the edge; connections are opened in its lifespan."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import Route

from tercet_gateway.metrics import Metrics
from tercet_gateway.middleware import RequestEdge
from tercet_gateway.routes import health, models
from tercet_gateway.routes.chat import ChatCompletions
from tercet_gateway.routes.failures import install_error_responses
from tercet_gateway.services import open_services
from tercet_gateway.settings import Settings


def create_app(settings: Settings, metrics: Metrics, closing: asyncio.Event) -> FastAPI:
    """Turns that still run when `closing` is set end with an error."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings, metrics, closing) as services:
            app.state.services = services
            yield

    app = FastAPI(
        title="Tercet",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(RequestEdge, metrics=metrics)
    install_error_responses(app)
    app.include_router(health.router)
    app.include_router(models.router)
    app.router.routes.append(Route("/v1/chat/completions", ChatCompletions(), methods=["POST"]))
    return app
