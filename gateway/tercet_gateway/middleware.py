"""The outermost layer: names each request, times it, and answers for what nobody foresaw.

Pure ASGI, one wrapper of `send`, so that a streamed chunk costs nothing more. Outside of it is only uvicorn.
"""

import logging
import re
import time
from typing import Final
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tercet_gateway.clients import ClientGone
from tercet_gateway.errors import error_body, internal_error
from tercet_gateway.logs import request_id
from tercet_gateway.metrics import Metrics

_log: Final = logging.getLogger(__name__)
_GIVEN_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestEdge:
    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, _read_request_id(scope), self._metrics)
        request_id.set(answer.request_id)
        try:
            await self._app(scope, receive, answer.send)
        except ClientGone:
            self._metrics.requests.labels("499").inc()
        except Exception:  # noqa: BLE001 - the edge: whatever happens, the caller gets an envelope
            _log.exception("request_crashed")
            await answer.send_internal_error()


def _read_request_id(scope: Scope) -> str:
    """The caller's own, if it is harmless in a header and a log line."""
    given: bytes = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode() if _GIVEN_ID.fullmatch(given) else f"req_{uuid4().hex}"


class _Answer:
    def __init__(self, send: Send, request_id: str, metrics: Metrics) -> None:
        self._send = send
        self._metrics = metrics
        self._received_s = time.monotonic()
        self._started = False
        self.request_id = request_id

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start(message)
        await self._send(message)

    async def send_internal_error(self) -> None:
        """Nothing, once a response has begun: uvicorn then closes the connection."""
        if self._started:
            return
        body = error_body(internal_error())
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def _start(self, message: Message) -> None:
        self._started = True
        self._metrics.requests.labels(str(message["status"])).inc()
        headers = MutableHeaders(scope=message)
        headers["x-request-id"] = self.request_id
        headers["openai-processing-ms"] = str(round((time.monotonic() - self._received_s) * 1000))
