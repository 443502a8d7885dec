"""How far a fetch has come: a bar on a terminal, lines in a log.

Used by `fetch`; both go to stderr. A hub's client reports from threads of its own, many times a second.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from tercet_cli.hubs import Progress

LINE_S: Final = 5.0
LINE_SHARE: Final = 0.05
_MEGA: Final = 1e6


def say_aside(line: str) -> None:
    """Beside the result, which alone is on stdout."""
    typer.echo(line, err=True)


@contextmanager
def show_progress(source: str) -> Iterator[Progress]:
    if not sys.stderr.isatty():
        yield ProgressLines(source, say_aside).show
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bars = Bars(*columns, console=Console(stderr=True))
    task = bars.add_task(source, total=None)

    def show(done: int, total: int) -> None:
        bars.start()
        bars.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bars.stop()


class ProgressLines:
    """A line every `LINE_S` while bytes come, one for each `LINE_SHARE` of the whole, and one at the end."""

    def __init__(
        self, source: str, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._shown = 0
        self._shown_at = clock()

    def show(self, done: int, total: int) -> None:
        with self._lock:
            if self._is_news(done, total):
                self._write(self._render(done, total))
                self._shown, self._shown_at = done, self._clock()

    def _is_news(self, done: int, total: int) -> bool:
        new = done - self._shown
        is_late = self._clock() - self._shown_at >= LINE_S
        return new > 0 and (is_late or done == total or new >= LINE_SHARE * total)

    def _render(self, done: int, total: int) -> str:
        elapsed_s = max(self._clock() - self._shown_at, 1e-3)
        speed = (done - self._shown) / elapsed_s / _MEGA
        share = f" ({done / total:.0%})" if total else ""
        return f"{self._source}: {done / _MEGA:.1f} of {total / _MEGA:.1f} MB{share}, {speed:.1f} MB/s"
