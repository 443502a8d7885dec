"""One fetch of a model at a time into one cache, also where the pods of several machines share it.

Used by `sources`. The lock is advisory and ends with its process. Where none can be had (a file system
without locks, a cache that may only be read), fetches run side by side: the hubs' clients and the demo's
builder keep each file whole by themselves.
"""

import fcntl
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from tercet_cli.errors import SourceError

Say = Callable[[str], None]

LIMIT_S: Final = 3600.0
POLL_S: Final = 0.5


@contextmanager
def hold_fetch_lock(cache: Path, source: str, say: Say, limit_s: float = LIMIT_S) -> Iterator[None]:
    """Waits for whoever holds it; SourceError when that takes longer than `limit_s`."""
    with ExitStack() as held:
        with suppress(OSError):
            file = held.enter_context(_lock_file(cache, source).open("w"))
            if not _take(file):
                say(f"{source}: another pod or process is fetching it into {cache}; waiting")
                _wait(file, source, limit_s)
        yield


def _lock_file(cache: Path, source: str) -> Path:
    return cache / f".{re.sub(r'[^A-Za-z0-9.]+', '-', source)}.lock"


def _wait(file: IO[str], source: str, limit_s: float) -> None:
    latest = time.monotonic() + limit_s
    while not _take(file):
        if time.monotonic() >= latest:
            raise SourceError(
                f"{source}: another fetch of it has taken over {limit_s / 60:.0f} minutes: look at its log, "
                "end it, then run this again"
            )
        time.sleep(POLL_S)


def _take(file: IO[str]) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
