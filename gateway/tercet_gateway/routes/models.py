"""GET /v1/models and /v1/models/{id}: what this gateway serves."""

from fastapi import APIRouter, Request

from tercet_gateway.models import Model
from tercet_gateway.services import Services

router = APIRouter()


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, object]:
    services: Services = request.app.state.services
    return {"object": "list", "data": [_render(model) for model in services.catalog.list_models()]}


@router.get("/v1/models/{model:path}")
async def show_model(request: Request, model: str) -> dict[str, object]:
    services: Services = request.app.state.services
    return _render(services.catalog.find(model).model)


def _render(model: Model) -> dict[str, object]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "tercet",
    }
