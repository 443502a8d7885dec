"""The process around the app: uvicorn for callers, the metrics on their own port. Called by `__main__`."""

import asyncio
import gc
import logging
import socket
from dataclasses import asdict
from typing import Final

import uvicorn

from tercet_gateway.app import create_app
from tercet_gateway.connections import KEEP_ALIVE_S, BoundedHttp
from tercet_gateway.logs import log_event
from tercet_gateway.metrics import Metrics
from tercet_gateway.settings import Settings

_log: Final = logging.getLogger(__name__)
LAST_WORDS_S: Final = 2
"""For turns that were ended, to tell their clients."""


class DrainingServer(uvicorn.Server):
    """Sets `closing` when running turns have had `drain_s`."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event, drain_s: float) -> None:
        super().__init__(config)
        self._closing = closing
        self._drain_s = drain_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(self._drain_s, self._closing.set)
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT; then running turns have `drain_s` to end, or are ended with an error."""
    log_event(_log, "settings_read", **asdict(settings))
    metrics, closing, drain_s = Metrics(), asyncio.Event(), settings.timeouts.drain_s
    config = uvicorn.Config(
        create_app(settings, metrics, closing),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=BoundedHttp,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=drain_s + LAST_WORDS_S,
    )
    gc.freeze()  # what start-up made lives for ever; the collector need not look at it again
    with metrics.serve(settings.host, settings.metrics_port):
        DrainingServer(config, closing, drain_s).run()
