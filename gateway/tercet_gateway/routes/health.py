"""GET /healthz (the process answers) and /readyz (every stage of every deployment serves)."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response
from tercet_wire.names import Stage

from tercet_gateway.services import Services

router = APIRouter()


@router.get("/healthz")
async def show_health() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz")
async def show_readiness(request: Request) -> Response:
    services: Services = request.app.state.services
    unready = await asyncio.gather(*(pool.list_unready() for pool in services.pools.values()))
    deployments = {
        model: {stage.value: stage not in stages for stage in Stage}
        for model, stages in zip(services.pools, unready, strict=True)
    }
    ready = not any(unready)
    return JSONResponse({"ready": ready, "deployments": deployments}, status_code=200 if ready else 503)
