"""A server as the host of one stage: how many turns of ours it carries there, and how it stands to others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tercet_wire.names import Stage

from tercet_gateway.errors import ReplicaRefused
from tercet_gateway.stages.server import Server, ServerUnreachable
from tercet_gateway.stages.stream import StageStream

_REST_S: Final = 2.0
"""How long a replica is asked last that could not be reached or refused a turn."""


class Replica:
    def __init__(self, server: Server, stage: Stage, generation: str) -> None:
        self._rests_until_s = 0.0
        self._turns = 0
        self._taken = 0
        self.server = server
        self.stage = stage
        self.generation = generation

    @property
    def is_ready(self) -> bool:
        return self.server.is_ready

    @property
    def is_reachable(self) -> bool:
        return self.server.is_ready and self.server.is_seen(self.stage)

    def rank(self, now_s: float) -> tuple[bool, int, int]:
        """Lowest first: not missed and not resting, least loaded, least often asked."""
        return (self.server.is_missed(self.stage) or self.rests(now_s), self._turns, self._taken)

    def rests(self, now_s: float) -> bool:
        return now_s < self._rests_until_s

    @asynccontextmanager
    async def stream(self, turn_id: str, connect_s: float) -> AsyncIterator[StageStream]:
        """Counts as a turn from the first attempt to connect, so that a burst spreads."""
        self._turns += 1
        self._taken += 1
        try:
            async with self.server.call(connect_s) as call:
                yield StageStream(self.stage, turn_id, call)
        except (ServerUnreachable, ReplicaRefused):
            self._rests_until_s = asyncio.get_running_loop().time() + _REST_S
            raise
        finally:
            self._turns -= 1
