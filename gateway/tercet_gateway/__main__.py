"""`python -m tercet_gateway --settings FILE`."""

import argparse
import sys
from pathlib import Path

from tercet_gateway.allocator import return_large_blocks
from tercet_gateway.logs import configure_logging
from tercet_gateway.serving import serve
from tercet_gateway.settings import SettingsError, read_settings


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tercet_gateway", description="Serve the OpenAI API over the stages."
    )
    parser.add_argument("--settings", type=Path, required=True, help="JSON file, see tercet_gateway.settings")
    try:
        settings = read_settings(parser.parse_args().settings)
    except SettingsError as error:
        sys.exit(str(error))
    return_large_blocks()
    configure_logging()
    serve(settings)


if __name__ == "__main__":
    main()
