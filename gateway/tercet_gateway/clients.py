"""The other end of one HTTP request: its body, and the moment it leaves.

A thin view of ASGI's `receive`. Starlette tells a handler nothing of a client that leaves before the response
has begun; whoever waits on a stage or on media waits through `Client`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.types import Receive, Scope

from tercet_gateway.errors import RequestError
from tercet_gateway.tasks import Tasks

Result = TypeVar("Result")


class ClientGone(Exception):  # noqa: N818 - an event, not an error of ours
    """The client closed the connection; nobody waits for an answer."""


class Client:
    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._headers = dict(scope["headers"])
        self._receive = receive

    async def read_body(self, limit_bytes: int, timeout_s: float, hold: Callable[[int], None]) -> bytes:
        """Read it once, before anything else here is called. `hold` is told of each part's size."""
        if self._declared_bytes() > limit_bytes:
            raise _too_large(limit_bytes)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._read_parts(limit_bytes, hold)
        except TimeoutError:
            raise RequestError("The body did not arrive in time.", status=408) from None

    async def leave(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def wait_with(self, work: Awaitable[Result]) -> Result:
        """The result of `work`, which is cancelled when the client leaves first (ClientGone)."""
        async with Tasks() as tasks:
            watcher = tasks.create_task(self._raise_when_gone())
            result = await work
            watcher.cancel()
        return result

    async def _raise_when_gone(self) -> None:
        await self.leave()
        raise ClientGone

    def _declared_bytes(self) -> int:
        length: bytes = self._headers.get(b"content-length", b"")
        return int(length) if length.isdigit() else 0

    async def _read_parts(self, limit_bytes: int, hold: Callable[[int], None]) -> bytes:
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            hold(len(part))
            body += part
            if len(body) > limit_bytes:
                raise _too_large(limit_bytes)
            if not message.get("more_body", False):
                return bytes(body)


def _too_large(limit_bytes: int) -> RequestError:
    return RequestError(f"The body is larger than {limit_bytes} bytes.", status=413, code="content_too_large")
