"""One HTTP connection as uvicorn reads it, with bounds that uvicorn does not set. Used by `serving`.

Bodies are `clients`' business. What is not body (request line, headers, trailers) is kept in memory while it
comes, and until the headers are whole no handler has a say: so its length and its time are bounded here.
"""

import asyncio
from typing import ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

KEEP_ALIVE_S: Final = 75
"""Longer than load balancers keep a connection."""
HEAD_BYTES: Final = 64 * 1024


class BoundedHttp(HttpToolsProtocol):
    head_s: ClassVar[float] = KEEP_ALIVE_S + 15.0
    """From the connection's begin, or its last response, to the end of the next request's headers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self._head_bytes = 0
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def on_headers_complete(self) -> None:
        self._head_timer.cancel()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._await_head()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_s, self.transport.close)

    def _refuse_head(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response("The headers are too long.")
        else:
            self.transport.close()  # trailers: an answer may be on its way already
