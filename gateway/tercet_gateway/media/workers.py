"""The threads that decode, with a bounded queue before them and a way to stop what they do.

Opened and used by `reader`. Threads, because the decoders let go of the interpreter's lock while they work.
Full-queue policy: a decode that finds no place is refused as overloaded.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from tercet_gateway.errors import ServiceError
from tercet_gateway.media.refusals import too_large

T = TypeVar("T")


class Watch:
    """Looked at by a decoder between frames; ends it when its time is up or nobody waits for it."""

    def __init__(self, limit_s: float, stopped: threading.Event) -> None:
        self._end = time.monotonic() + limit_s
        self._stopped = stopped

    def check(self) -> None:
        if self._stopped.is_set() or time.monotonic() > self._end:
            raise too_large("This takes too long to decode. Send less, or in a simpler format.")


class Workers:
    """`limit_s` counts from when a thread takes the work up, not while it waits."""

    def __init__(self, *, threads: int, waiting: int, limit_s: float) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="media")
        self._places = threading.BoundedSemaphore(threads + waiting)
        self._limit_s = limit_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def run(self, work: Callable[[Watch], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise ServiceError(
                "This server decodes too much media at this moment. Try again shortly.",
                status=503,
                code="overloaded",
                retry_after_s=1,
            )
        stopped = threading.Event()
        job = self._pool.submit(partial(self._begin, work, stopped))
        # The place is free when the thread is, which may be after the caller has gone.
        job.add_done_callback(lambda _: self._places.release())
        try:
            return await asyncio.wrap_future(job)
        finally:
            stopped.set()
            # The job's error holds this frame: together they would keep the media until the collector comes.
            del job

    def _begin(self, work: Callable[[Watch], T], stopped: threading.Event) -> T:
        return work(Watch(self._limit_s, stopped))
