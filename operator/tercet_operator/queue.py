"""Keys that need a look, each once: the coalescing queue between watches and workers.

A key that is added while it waits is not added again; one that is added while it is worked on waits until
that is done, so no two workers ever hold the same key. A key that failed comes back later and later, and news
does not bring it back sooner, but for an edit. Waiting keys are bounded by the number of deployments.

There are two lines, each with workers of its own: what somebody asked for, and what merely happened. So a
thousand new deployments get their children while the many changes in the first of these wait, and become one
look each.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")

FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 15.0


class _Line(Generic[Key]):
    """Each key once, with the time since when it waits; in order."""

    def __init__(self) -> None:
        self.keys: dict[Key, float] = {}
        self.news = asyncio.Event()

    def put(self, key: Key, since: float) -> None:
        self.keys.setdefault(key, since)
        self.news.set()

    async def take(self) -> Key:
        while not self.keys:
            self.news.clear()
            await self.news.wait()
        key = next(iter(self.keys))
        del self.keys[key]
        return key


class WorkQueue(Generic[Key]):
    """For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked = _Line[Key]()
        self._happened = _Line[Key]()
        self._working: set[Key] = set()
        self._again: dict[Key, bool] = {}  # whether that was asked for
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._taken_at = clock()

    def __len__(self) -> int:
        return len(self._asked.keys) + len(self._happened.keys)

    @property
    def lag_s(self) -> float:
        """How long the key that waits longest has waited."""
        first = [next(iter(line.keys.values())) for line in (self._asked, self._happened) if line.keys]
        return self._clock() - min(first) if first else 0.0

    @property
    def idle_s(self) -> float:
        """For how long keys have waited and none was taken."""
        return min(self.lag_s, self._clock() - self._taken_at)

    def add(self, key: Key, *, asked: bool = False) -> None:
        if key in self._working:
            self._again[key] = asked or self._again.get(key, False)
        elif asked:
            self._forget_failure(key)
            self._happened.keys.pop(key, None)
            self._asked.put(key, self._clock())
        elif key not in self._asked.keys and key not in self._timers:
            self._happened.put(key, self._clock())

    async def take(self, *, asked: bool = False) -> Key:
        """Wait for a key of one of the lines; `done` or `failed` must follow."""
        key = await (self._asked if asked else self._happened).take()
        self._working.add(key)
        self._taken_at = self._clock()
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
        self._again.pop(key, None)
        self._release(key)
        self._timers[key] = asyncio.get_running_loop().call_later(delay_s, self._ring, key)
        return delay_s

    def clear(self) -> None:
        """Nobody works any more."""
        for timer in self._timers.values():
            timer.cancel()
        keys = (
            self._asked.keys,
            self._happened.keys,
            self._working,
            self._again,
            self._failures,
            self._timers,
        )
        for each in keys:
            each.clear()

    def _forget_failure(self, key: Key) -> None:
        """What failed has been edited since."""
        self._failures.pop(key, None)
        if key in self._timers:
            self._timers.pop(key).cancel()

    def _ring(self, key: Key) -> None:
        del self._timers[key]
        self.add(key)

    def _release(self, key: Key) -> None:
        self._working.discard(key)
        if key in self._again:
            self.add(key, asked=self._again.pop(key))
