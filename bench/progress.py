"""Says on stderr how far a benchmark is: some take many minutes."""

import sys
from datetime import datetime


def say(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)
