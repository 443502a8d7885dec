"""Asks servers what they serve: when they come, when their connection is lost, and now and then.

Runs beside the app for as long as the process, over all servers of all pools; `pool` adds and removes them.
One task looks at all of them each second, which for thousands of servers costs milliseconds; only those that
are due are asked.
"""

import asyncio
from typing import Final

from tercet_gateway.stages.server import Server
from tercet_gateway.tasks import Tasks

_LOOK_S: Final = 1.0
_AT_ONCE: Final = 32


class Checks:
    def __init__(self) -> None:
        self._servers: set[Server] = set()
        self._asked: set[Server] = set()
        self._added = asyncio.Event()
        self._places = asyncio.Semaphore(_AT_ONCE)

    def add(self, server: Server) -> None:
        self._servers.add(server)
        self._added.set()

    def remove(self, server: Server) -> None:
        self._servers.discard(server)

    @property
    def have_asked_all(self) -> bool:
        """Of the servers that are ready."""
        return all(server.is_asked for server in self._servers if server.is_ready)

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        async with Tasks() as tasks:
            while True:
                now_s = loop.time()
                for server in self._servers:
                    if server.is_due(now_s) and server not in self._asked:
                        self._asked.add(server)
                        tasks.create_task(self._ask(server))
                await self._rest()

    async def _ask(self, server: Server) -> None:
        try:
            async with self._places:
                await server.check()
        finally:
            self._asked.discard(server)

    async def _rest(self) -> None:
        self._added.clear()
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._added.wait()
        except TimeoutError:
            return
