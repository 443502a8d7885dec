"""Why a request is not answered as asked, in the words of the OpenAI envelope.

    GatewayError                   status, type, code, param, message
    ├── RequestError               the caller can fix it: 400, 404, 405, 408, 413, 422
    └── ServiceError               the caller can only come again: 500, 503, 504
        └── ReplicaRefused         503; another replica may serve it right now
            └── ReplicaLost        503; it is gone or going, whatever it was doing

Raised anywhere in the gateway; `error_body` is the one place that turns them into bytes, for a response's
body as well as for an event in the middle of a stream. A message is shown to the caller: it never holds an
address, a path or a traceback.
"""

import math
from typing import Final, Literal

import orjson
from tercet_wire.messages import StageFailure

ErrorType = Literal["invalid_request_error", "server_error"]

_MESSAGE_CHARS: Final = 600
_PARAM_CHARS: Final = 120


class GatewayError(Exception):
    """The four keys of the envelope, the HTTP status, and headers that go with it.

    `detail` is for the log only.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: ErrorType,  # noqa: A002 - the envelope's word
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type: ErrorType = type
        self.code = code
        self.param = param
        self.message = message[:_MESSAGE_CHARS]
        self.retry_after_s = retry_after_s
        self.detail = detail

    def headers(self) -> dict[str, str]:
        if self.retry_after_s is None:
            return {}
        return {"retry-after": str(max(1, math.ceil(self.retry_after_s)))}


class RequestError(GatewayError):
    """The request is at fault; `param` names the field, as `messages[0].content[1].image_url.url`."""

    def __init__(
        self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(
            message,
            status=status,
            type="invalid_request_error",
            code=code,
            param=None if param is None else param[:_PARAM_CHARS],
        )


class ServiceError(GatewayError):
    """We are at fault, or busy."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        retry_after_s: float | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(
            message,
            status=status,
            type="server_error",
            code=code,
            retry_after_s=retry_after_s,
            detail=detail,
        )


class ReplicaRefused(ServiceError):  # noqa: N818 - what the replica did
    """A stage's replica does not take the turn: it is full, or lost."""


class ReplicaLost(ReplicaRefused):
    """It is gone or going, or was not there; what it was doing can be done elsewhere."""


def internal_error(detail: str | None = None) -> ServiceError:
    return ServiceError("The server failed to answer this request.", status=500, detail=detail)


def unavailable_error(detail: str) -> ReplicaLost:
    return ReplicaLost(
        "The model is not available at the moment. Try again shortly.",
        status=503,
        code="upstream_unavailable",
        retry_after_s=1,
        detail=detail,
    )


def timeout_error(detail: str) -> ServiceError:
    return ServiceError("The model took too long.", status=504, code="upstream_timeout", detail=detail)


def stage_error(failure: StageFailure) -> GatewayError:
    """What a stage said, as the caller may hear it: 5xx bodies show no internals."""
    match failure.type:
        case "invalid_request":
            return RequestError(failure.message, param=failure.param)
        case "context_length_exceeded":
            return RequestError(failure.message, code="context_length_exceeded", param=failure.param)
        case "overloaded":
            return ReplicaRefused(
                "All replicas of this model are busy. Try again shortly.",
                status=503,
                code="overloaded",
                retry_after_s=1,
                detail=failure.message,
            )
        case "cancelled":
            # Not by us: the stage is being shut down.
            return unavailable_error(failure.message)
        case "internal":
            return internal_error(failure.message)


def error_body(error: GatewayError) -> bytes:
    envelope = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return orjson.dumps({"error": envelope})
