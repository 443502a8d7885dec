"""The process around the app: uvicorn for callers, the metrics on their own port. Called by `__main__`."""

import gc
import logging
from dataclasses import asdict
from typing import Final

import uvicorn

from tercet_gateway.app import create_app
from tercet_gateway.connections import KEEP_ALIVE_S, BoundedHttp
from tercet_gateway.logs import log_event
from tercet_gateway.metrics import Metrics
from tercet_gateway.settings import Settings

_log: Final = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT; then running turns have `drain_s` to end."""
    log_event(_log, "settings_read", **asdict(settings))
    metrics = Metrics()
    config = uvicorn.Config(
        create_app(settings, metrics),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=BoundedHttp,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.timeouts.drain_s,
    )
    gc.freeze()  # what start-up made lives for ever; the collector need not look at it again
    with metrics.serve(settings.host, settings.metrics_port):
        uvicorn.Server(config).run()
