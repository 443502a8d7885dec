"""Keys that need a look, each once: the coalescing queue between watches and workers.

A key that is added while it waits is not added again; one that is added while it is worked on waits until
that is done, so no two workers ever hold the same key. A key that failed comes back later and later, and news
does not bring it back sooner. Waiting keys are bounded by the number of deployments.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")

FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 15.0


class WorkQueue(Generic[Key]):
    """For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[Key, float] = {}  # since when; in order
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def lag_s(self) -> float:
        """How long the key that waits longest has waited."""
        return self._clock() - next(iter(self._waiting.values())) if self._waiting else 0.0

    def add(self, key: Key) -> None:
        if key in self._working:
            self._again.add(key)
            return
        if key in self._failures and key in self._timers:
            return
        self._waiting.setdefault(key, self._clock())
        self._news.set()

    def add_later(self, key: Key, delay_s: float) -> None:
        """The earliest of several counts."""
        loop = asyncio.get_running_loop()
        known = self._timers.get(key)
        if known is not None:
            if known.when() <= loop.time() + delay_s:
                return
            known.cancel()
        self._timers[key] = loop.call_later(delay_s, self._ring, key)

    async def take(self) -> Key:
        """Wait for a key; `done` or `failed` must follow."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        key = next(iter(self._waiting))
        del self._waiting[key]
        self._working.add(key)
        return key

    def done(self, key: Key) -> None:
        self._failures.pop(key, None)
        self._release(key)

    def failed(self, key: Key) -> float:
        """Returns after how many seconds it comes back."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay_s: float = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2**failures)
        delay_s *= random.uniform(0.5, 1.0)  # noqa: S311  # spreads those that failed together
        self._again.discard(key)
        self._release(key)
        self.add_later(key, delay_s)
        return delay_s

    def _ring(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _release(self, key: Key) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
