"""A fake of the API server's Leases, as `Election` needs it: versions, conflicts, and lines that can be cut.

Each replica has a line of its own to the one server: `cut` lines fail at once, `hung` ones never answer.
"""

import asyncio
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tercet_operator.cluster import ApiError

Manifest = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Server:
    lease: Manifest | None = None
    version: int = 0
    writes: list[str] = field(default_factory=list)
    """Holders, in the order they wrote."""

    def store(self, lease: Manifest) -> Manifest:
        self.version += 1
        self.lease = deepcopy(lease)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        self.writes.append(lease["spec"]["holderIdentity"])
        return deepcopy(self.lease)


@dataclass(slots=True, kw_only=True)
class Line:
    """One replica's `cluster`. `delay_s` passes before a request reaches the server and again after it."""

    server: Server
    delay_s: float = 0.0
    is_cut: bool = False
    hangs: bool = False
    loses_answers: bool = False
    """Requests arrive, answers do not."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        await self._send()
        lease = deepcopy(self.server.lease)
        await self._answer()
        return lease

    async def create(self, manifest: Manifest) -> Manifest:
        await self._send()
        if self.server.lease is not None:
            raise ApiError(409, "AlreadyExists", "lease")
        stored = self.server.store(manifest)
        await self._answer()
        return stored

    async def replace(self, manifest: Manifest) -> Manifest:
        await self._send()
        known = self.server.lease
        version = manifest["metadata"]["resourceVersion"]
        if known is None or known["metadata"]["resourceVersion"] != version:
            raise ApiError(409, "Conflict", "lease")
        stored = self.server.store(manifest)
        await self._answer()
        return stored

    async def _send(self) -> None:
        await asyncio.sleep(self.delay_s)
        if self.is_cut:
            raise ApiError(0, "ClientConnectorError", "refused")
        if self.hangs:
            await asyncio.get_running_loop().create_future()

    async def _answer(self) -> None:
        await asyncio.sleep(self.delay_s)
        if self.loses_answers:
            await asyncio.get_running_loop().create_future()
