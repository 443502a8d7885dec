"""GET /v1/models and /v1/models/{id}: what this gateway serves."""

from fastapi import APIRouter, Request

from tercet_gateway.services import Services
from tercet_gateway.settings import Deployment

router = APIRouter()


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, object]:
    services: Services = request.app.state.services
    return {"object": "list", "data": [_render(pool.deployment) for pool in services.pools.values()]}


@router.get("/v1/models/{model:path}")
async def show_model(request: Request, model: str) -> dict[str, object]:
    services: Services = request.app.state.services
    return _render(services.pool(model).deployment)


def _render(deployment: Deployment) -> dict[str, object]:
    return {
        "id": deployment.model,
        "object": "model",
        "created": deployment.created,
        "owned_by": "tercet",
    }
