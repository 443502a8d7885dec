"""One operator at a time, by a Lease: whoever holds it leads, whoever finds it stale takes it.

`__main__` runs `lead_when_elected` around all that writes. A leader that cannot renew stops before the lease
ends for the others, and stands for election again. Clocks are compared with themselves only: a lease is stale
when it has not changed for its duration as seen from here.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tercet_wire.names import LABEL_MANAGED_BY, MANAGER

from tercet_operator.cluster import ApiError, Cluster

LEASE: Final = "tercet-operator"
DURATION_S: Final = 15
RENEW_S: Final = 3.0
GIVE_UP_S: Final = 10.0
"""A leader that has not renewed for so long stops; the rest of the duration is for stopping."""

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Election:
    cluster: Cluster
    namespace: str
    name: str
    identity: str
    clock: Callable[[], float] = time.monotonic
    _seen: str = ""
    _seen_at: float = 0.0
    _renewed_at: float = 0.0

    async def lead_when_elected(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled, or until `lead` ends or fails while this replica leads."""
        while True:
            while not await self._try():  # noqa: ASYNC110  # what it waits for happens elsewhere
                await asyncio.sleep(RENEW_S)
            log.info("leading as %s", self.identity)
            leading = asyncio.ensure_future(lead())
            try:
                if await self._renew_beside(leading):
                    return
            finally:
                leading.cancel()
                await asyncio.gather(leading, return_exceptions=True)
                await self._hand_over()
            log.warning("lease lost by %s", self.identity)

    async def _renew_beside(self, leading: asyncio.Future[None]) -> bool:
        """True once the work has ended; False when the lease is lost."""
        while (left_s := self._renewed_at + GIVE_UP_S - self.clock()) > 0:
            done, _ = await asyncio.wait({leading}, timeout=min(RENEW_S, left_s))
            if done:
                leading.result()
                return True
            await self._try(self._renewed_at + GIVE_UP_S - self.clock())
            if self._seen != self.identity:
                return False
        return False

    async def _try(self, limit_s: float = RENEW_S) -> bool:
        """Take or renew the lease; False if another has it, or nobody can be asked."""
        asked_at = self.clock()  # others may count from here on, and not from the answer
        try:
            async with asyncio.timeout(min(RENEW_S, limit_s)):
                lease = await self.cluster.get("Lease", self.namespace, self.name)
                if lease is None:
                    await self.cluster.create(self._write({}, None))
                elif self._may_take(lease):
                    await self.cluster.replace(self._write(lease["spec"], lease["metadata"]))
                else:
                    return False
        except (ApiError, TimeoutError) as error:
            log.warning("lease not renewed by %s: %r", self.identity, error)
            return False
        self._seen, self._renewed_at = self.identity, asked_at
        return True

    async def _hand_over(self) -> None:
        """So that the next one need not wait for the lease's end."""
        if self._seen != self.identity:
            return
        try:
            async with asyncio.timeout(RENEW_S):
                lease = await self.cluster.get("Lease", self.namespace, self.name)
                if lease is not None and lease["spec"].get("holderIdentity") == self.identity:
                    await self.cluster.replace({**lease, "spec": {**lease["spec"], "holderIdentity": ""}})
        except (ApiError, TimeoutError) as error:
            log.warning("lease not handed over by %s: %r", self.identity, error)

    def _may_take(self, lease: dict[str, Any]) -> bool:
        holder = lease["spec"].get("holderIdentity") or ""
        version = f"{holder}@{lease['metadata']['resourceVersion']}"
        if holder in {"", self.identity}:
            return True
        if version != self._seen:
            self._seen, self._seen_at = version, self.clock()
        duration_s = int(lease["spec"].get("leaseDurationSeconds", DURATION_S))
        return self.clock() - self._seen_at > duration_s

    def _write(self, spec: dict[str, Any], metadata: dict[str, Any] | None) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = spec.get("holderIdentity") == self.identity
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata
            or {"name": self.name, "namespace": self.namespace, "labels": {LABEL_MANAGED_BY: MANAGER}},
            "spec": {
                **spec,
                "holderIdentity": self.identity,
                "leaseDurationSeconds": DURATION_S,
                "acquireTime": spec["acquireTime"] if mine else now,
                "renewTime": now,
                "leaseTransitions": spec.get("leaseTransitions", 0) + (bool(spec) and not mine),
            },
        }
