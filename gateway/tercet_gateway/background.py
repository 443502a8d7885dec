"""Work that runs beside the app for as long as the process."""

import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Final

from tercet_gateway.tasks import Tasks

_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def beside(*works: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run these until the block is left."""
    async with Tasks() as tasks:
        running = [tasks.create_task(_run(work)) for work in works]
        try:
            yield
        finally:
            for task in running:
                task.cancel()


async def _run(work: Coroutine[None, None, None]) -> None:
    """A gateway that has gone blind must not stay: its turns end, and whoever started it starts it anew."""
    try:
        await work
    except Exception:  # noqa: BLE001 - the edge of work that nobody waits for
        _log.exception("background_crashed")
        signal.raise_signal(signal.SIGTERM)
