"""The requests of one stage in one turn, in the order they are to be sent.

`turns` fills it and its writer takes from it. Until the stage has answered, everything is kept, so that it
can be said again to another replica.
"""

import asyncio
from typing import Final

from tercet_gateway.stages.blobs import Tensors

_LIMIT: Final = 1024
"""Requests that a stage has not yet taken, a minute's worth."""


class Outbox:
    def __init__(self, first: Tensors) -> None:
        self._given = [first]
        self._taken = 0
        self._more = asyncio.Event()
        self.is_kept = True

    def put(self, tensors: Tensors) -> bool:
        """False: it is full, so the stage is stuck."""
        if len(self._given) - self._taken >= _LIMIT:
            return False
        self._given.append(tensors)
        self._more.set()
        return True

    async def take(self) -> Tensors:
        while self._taken == len(self._given):
            self._more.clear()
            await self._more.wait()
        if not self.is_kept:
            return self._given.pop(0)
        self._taken += 1
        return self._given[self._taken - 1]

    def rewind(self) -> None:
        """Begin again with the first."""
        self._taken = 0

    def forget(self) -> None:
        """The stage has answered: what was taken is not needed again."""
        if self.is_kept:
            self.is_kept = False
            del self._given[: self._taken]
            self._taken = 0
