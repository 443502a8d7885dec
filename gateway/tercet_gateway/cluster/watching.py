"""One watch that never ends: list, follow, and after whatever happens go on where it was.

The catalog runs one per kind and namespace. The API server may be away for minutes: what is known stays, and
the watch goes on from the last version it heard of; only when that has expired is everything listed anew.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from tercet_gateway.cluster.view import Event, Listed
from tercet_gateway.logs import log_event

_log: Final = logging.getLogger(__name__)


class ClusterUnavailable(Exception):  # noqa: N818 - what happened
    """The API server did not answer as it should; the text says how."""


class VersionExpired(Exception):  # noqa: N818 - what happened
    """The API server no longer knows what came after this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """`event` None: nothing but a newer version, a bookmark."""

    version: str
    event: Event | None = None


class Source(Protocol):
    """Objects of one kind; `kube.KubeSource` is the real one. Raises ClusterUnavailable, VersionExpired."""

    async def read_all(self) -> tuple[Listed, str]: ...

    def follow(self, version: str) -> AsyncGenerator[News]:
        """What came after this version, until the server has had enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Between attempts: doubled with each failure in a row, and spread so that gateways come apart."""

    first_s: float = 0.5
    longest_s: float = 30.0

    def length_s(self, failures: int) -> float:
        longest_s = min(self.longest_s, self.first_s * 2 ** min(failures - 1, 16))
        return random.uniform(longest_s / 2, longest_s)  # noqa: S311 - no secret


class Watch:
    """`receive` gets all events in order. `is_synced`: the first list is through."""

    def __init__(
        self,
        name: str,
        source: Source,
        receive: Callable[[Event], Awaitable[None]],
        pauses: Pauses = Pauses(),
    ) -> None:
        self._name = name
        self._source = source
        self._receive = receive
        self._pauses = pauses
        self._version: str | None = None
        self._failures = 0
        self._heard_s = time.monotonic()
        self.is_synced = False

    def age_s(self) -> float:
        """Since the API server was last heard of."""
        return time.monotonic() - self._heard_s

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                else:
                    await self._follow(self._version)
            except VersionExpired:
                self._version = None
                await self._pause("expired")
            except ClusterUnavailable as error:
                await self._pause(str(error))

    async def _list(self) -> None:
        listed, version = await self._source.read_all()
        await self._receive(listed)
        self._version = version
        self.is_synced = True
        self._hear()

    async def _follow(self, version: str) -> None:
        """An end without a word counts as a failure, so that nobody is asked in a tight circle."""
        heard = False
        async with aclosing(self._source.follow(version)) as stream:
            async for news in stream:
                heard = True
                self._hear()
                if news.event is not None:
                    await self._receive(news.event)
                self._version = news.version
        if not heard:
            await self._pause("ended without a word")

    def _hear(self) -> None:
        self._heard_s = time.monotonic()
        if self._failures:
            log_event(_log, "watch_recovered", watch=self._name, failures=self._failures)
        self._failures = 0

    async def _pause(self, why: str) -> None:
        self._failures += 1
        if self._failures == 1:
            log_event(_log, "watch_failed", watch=self._name, why=why)
        await asyncio.sleep(self._pauses.length_s(self._failures))
