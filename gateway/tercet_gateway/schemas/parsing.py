"""Bytes of a request's body to a ChatRequest, and pydantic's findings to OpenAI's words.

Called by the chat route, off the loop when the body is large. Pure.
"""

from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tercet_gateway.errors import RequestError
from tercet_gateway.schemas.chat import ChatRequest

_OWN_CODES: Final = frozenset({"unsupported_parameter", "unsupported_value"})
_MOST_VALUES: Final = 100_000
"""In one body. A value of two bytes takes hundreds in memory, and parsing holds up every other turn."""


def parse_chat_request(body: bytes) -> ChatRequest:
    _check_values(body)
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _request_error(error.errors(include_url=False, include_input=False)[0]) from None


def _check_values(body: bytes) -> None:
    """Each value but the first has one of these marks before it; base64 has none, and words have few."""
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > _MOST_VALUES:
        raise RequestError(
            f"The body may hold at most {_MOST_VALUES} values.", status=413, code="content_too_large"
        )


def _request_error(fault: ErrorDetails) -> RequestError:
    """The first fault only: the envelope has room for one."""
    kind, param = fault["type"], render_path(fault["loc"])
    if kind == "json_invalid":
        return RequestError("The body is not valid JSON in UTF-8.", code="invalid_json")
    if not param:
        return RequestError("The body must be a JSON object.", code="invalid_type")
    if kind == "extra_forbidden":
        return RequestError(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)
    if kind == "missing":
        return RequestError(
            f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
        )
    message = f"Invalid value for '{param}': {fault['msg']}."
    return RequestError(message, code=_code(kind), param=param)


def _code(kind: str) -> str:
    if kind in _OWN_CODES:
        return kind
    return "invalid_type" if kind.endswith("_type") else "invalid_value"


def render_path(steps: Sequence[int | str]) -> str:
    """As `messages[0].content[1].image_url.url`.

    Our lists of objects are all tagged unions, and pydantic puts the tag after the index: that is left out.
    """
    path = ""
    for before, step in zip([None, *steps], steps, strict=False):
        if isinstance(step, int):
            path += f"[{step}]"
        elif not isinstance(before, int):
            path += f".{step}" if path else step
    return path
