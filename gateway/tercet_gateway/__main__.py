"""`python -m tercet_gateway --settings FILE`: serve until SIGTERM, then let running turns end."""

import argparse
import gc
import sys
from pathlib import Path

import uvicorn

from tercet_gateway.app import create_app
from tercet_gateway.logs import configure_logging
from tercet_gateway.metrics import Metrics
from tercet_gateway.settings import SettingsError, read_settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="tercet_gateway", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, help="JSON file, see tercet_gateway.settings")
    try:
        settings = read_settings(parser.parse_args().settings)
    except SettingsError as error:
        sys.exit(str(error))
    configure_logging()
    metrics = Metrics()
    config = uvicorn.Config(
        create_app(settings, metrics),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.timeouts.drain_s,
    )
    gc.freeze()  # what start-up made lives for ever; the collector need not look at it again
    with metrics.serve(settings.host, settings.metrics_port):
        uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
