"""Exceptions to responses: every error body of the gateway has OpenAI's four keys."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tercet_gateway.errors import GatewayError, RequestError, error_body, internal_error


def install_error_responses(app: FastAPI) -> None:
    for kind in (GatewayError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer_error)


async def answer_error(request: Request, error: Exception) -> Response:
    answer = map_error(request, error)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else answer.headers()
    return Response(
        error_body(answer), status_code=answer.status, headers=headers, media_type="application/json"
    )


def map_error(request: Request, error: Exception) -> GatewayError:
    """Our own as they are; the router's (no such path, or not by this method) in our words."""
    match error:
        case GatewayError():
            return error
        case HTTPException(status_code=status):
            asked = f"{request.method} {request.url.path[:200]}"
            return RequestError(f"This server does not know {asked}.", status=status, code="unknown_url")
        case RequestValidationError():
            return RequestError("The request's parameters are not valid.", status=422, code="invalid_value")
        case _:
            return internal_error()
