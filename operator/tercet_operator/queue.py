"""Keys that need a look, each once: the coalescing queue between watches and workers.

A key that is added while it waits is not added again; one that is added while it is worked on waits until
that is done, so no two workers ever hold the same key. A key that failed comes back later and later, and news
does not bring it back sooner. Waiting keys are bounded by the number of deployments.

There are two lines: what somebody asked for, and what merely happened. A thousand new deployments get their
children before the many changes in the first of these are looked at, one by one, on the way.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")

FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 15.0
SETTLE_S: Final = 0.3
"""After news, for what comes with them: a server that starts changes its objects many times in a moment."""
IN_A_ROW: Final = 16
"""Urgent keys that are taken before one that is not, so that none waits for ever."""


class WorkQueue(Generic[Key]):
    """For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._urgent: dict[Key, float] = {}  # since when; in order
        self._waiting: dict[Key, float] = {}
        self._in_a_row = 0
        self._working: set[Key] = set()
        self._again: dict[Key, bool] = {}  # whether that is urgent
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._news = asyncio.Event()
        self._taken_at = clock()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._waiting)

    @property
    def lag_s(self) -> float:
        """How long the key that waits longest has waited."""
        first = [next(iter(line.values())) for line in (self._urgent, self._waiting) if line]
        return self._clock() - min(first) if first else 0.0

    @property
    def idle_s(self) -> float:
        """For how long keys have waited and none was taken."""
        return min(self.lag_s, self._clock() - self._taken_at)

    def add(self, key: Key, *, urgent: bool = False) -> None:
        """An urgent key is taken before those that are not."""
        if key in self._working:
            self._again[key] = urgent or self._again.get(key, False)
        elif key not in self._failures or key not in self._timers:
            self._put(key, urgent=urgent)

    def add_soon(self, key: Key) -> None:
        """In a moment; what else is heard of it until then is looked at as well."""
        if key not in self._timers:
            self._timers[key] = asyncio.get_running_loop().call_later(SETTLE_S, self._ring, key)

    def _put(self, key: Key, *, urgent: bool) -> None:
        if urgent:
            self._waiting.pop(key, None)
            self._urgent.setdefault(key, self._clock())
        elif key not in self._urgent:
            self._waiting.setdefault(key, self._clock())
        self._news.set()

    async def take(self) -> Key:
        """Wait for a key; `done` or `failed` must follow."""
        while not len(self):
            self._news.clear()
            await self._news.wait()
        line = self._choose_line()
        key = next(iter(line))
        del line[key]
        self._working.add(key)
        self._taken_at = self._clock()
        return key

    def _choose_line(self) -> dict[Key, float]:
        if self._urgent and not (self._waiting and self._in_a_row >= IN_A_ROW):
            self._in_a_row += 1
            return self._urgent
        self._in_a_row = 0
        return self._waiting

    def done(self, key: Key) -> None:
        self._failures.pop(key, None)
        self._release(key)

    def failed(self, key: Key) -> float:
        """Returns after how many seconds it comes back."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay_s: float = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2**failures)
        delay_s *= random.uniform(0.5, 1.0)  # noqa: S311  # spreads those that failed together
        self._again.pop(key, None)
        self._release(key)
        if key in self._timers:
            self._timers.pop(key).cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(delay_s, self._ring, key)
        return delay_s

    def _ring(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _release(self, key: Key) -> None:
        self._working.discard(key)
        if key in self._again:
            self.add(key, urgent=self._again.pop(key))
