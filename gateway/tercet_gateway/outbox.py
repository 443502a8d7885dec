"""The requests of one stage in one turn, in the order they are to be sent.

`turns` fills it and a `stage_run` takes from it. All of it is kept for the whole turn, so that it can be said
again to another replica; a turn that is too large for that keeps it until the stage has answered.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from tercet_gateway.stages.blobs import Tensors

_LIMIT: Final = 1024
"""Requests that a stage has not yet taken, a minute's worth."""


class Outbox:
    """`hold` is asked for the bytes of each request, and given them back; False: there is no room."""

    def __init__(self, first: Tensors, hold: Callable[[int], bool]) -> None:
        self._given: list[Tensors] = []
        self._taken = 0
        self._untaken = 0  # by any replica
        self._more = asyncio.Event()
        self._hold = hold
        self._held_bytes = 0
        self._fits = True
        self.is_kept = True
        self._add(first)

    def put(self, tensors: Tensors) -> bool:
        """False: it is full, so the stage is stuck."""
        if self._untaken >= _LIMIT:
            return False
        self._add(tensors)
        self._more.set()
        return True

    def _add(self, tensors: Tensors) -> None:
        self._given.append(tensors)
        self._untaken += 1
        size = sum(len(blob.data) for blob in tensors.values())
        self._fits = self._fits and self._hold(size)
        self._held_bytes += size if self._fits else 0

    async def take(self) -> Tensors:
        while self._taken == len(self._given):
            self._more.clear()
            await self._more.wait()
        self._untaken = min(self._untaken, len(self._given) - self._taken - 1)
        if not self.is_kept:
            return self._given.pop(0)
        self._taken += 1
        return self._given[self._taken - 1]

    def rewind(self) -> None:
        """Begin again with the first."""
        self._taken = 0

    def settle(self) -> None:
        """The stage has answered: what was taken and does not fit is not kept any longer."""
        if self.is_kept and not self._fits:
            self.is_kept = False
            self._give_back()
            del self._given[: self._taken]
            self._taken = 0

    def close(self) -> None:
        """The stage needs nothing any more."""
        self._give_back()
        self._given.clear()
        self._taken = 0

    def _give_back(self) -> None:
        self._hold(-self._held_bytes)
        self._held_bytes = 0
