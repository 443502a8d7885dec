"""GET /healthz (the process answers) and /readyz (its catalog can be asked)."""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from tercet_gateway.services import Services

router = APIRouter()


@router.get("/healthz")
async def show_health() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz")
async def show_readiness(request: Request) -> Response:
    services: Services = request.app.state.services
    readiness = await services.catalog.show_readiness()
    return JSONResponse(readiness, status_code=200 if readiness["ready"] else 503)
