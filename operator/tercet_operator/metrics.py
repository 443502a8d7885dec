"""The operator's own figures, for Prometheus, and whether it still hears from the API server.

`Metrics` is written by workers and handlers; `serve_metrics` answers /metrics and /healthz on one port.
"""

import time
from collections import Counter as Counting
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from tercet_wire.status import ConditionType

from tercet_operator.queue import WorkQueue
from tercet_operator.store import Key, Store

SILENCE_S: Final = 180.0
"""Without a watch event for so long the watches are taken for dead: the operator's own lease, which is
watched too, changes every few seconds."""
STUCK_S: Final = 120.0
"""A queue from which nothing is taken for so long has no workers left."""
_PREFIX: Final = "tercet_operator_"
_FORESEEN: Final = (
    "Conflict",
    "Forbidden",
    "InternalError",
    "Invalid",
    "NotFound",
    "ServiceUnavailable",
    "Timeout",
    "TooManyRequests",
    "Unauthorized",
)
"""Reasons that stand at 0 from the start: Prometheus sees no rise of a counter that was not there."""
_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """`queue` and `store` are read whenever Prometheus asks."""

    def __init__(
        self, queue: WorkQueue[Key], store: Store, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue = queue
        self._store = store
        self._clock = clock
        self._heard_at = clock()
        self._leads = False
        self.registry = registry = CollectorRegistry()
        self.reconcile_s = Histogram(
            f"{_PREFIX}reconcile_duration_seconds",
            "One look at one deployment.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.writes = Counter(
            f"{_PREFIX}writes", "Objects applied, scaled or deleted, statuses written.", registry=registry
        )
        self.errors = Counter(
            f"{_PREFIX}reconcile_errors",
            "Looks that failed, by the API's reason.",
            ["reason"],
            registry=registry,
        )
        for reason in _FORESEEN:
            self.errors.labels(reason)
        self._deployments = Gauge(
            f"{_PREFIX}deployments",
            "OmniDeployments, by the reason of their Ready condition.",
            ["reason"],
            registry=registry,
        )
        for name, text, read in (
            ("queue_depth", "Deployments that wait for a look.", lambda: len(queue)),
            ("queue_lag_seconds", "How long the first of them has waited.", lambda: queue.lag_s),
            ("leader", "1: this replica is at work.", lambda: self._leads),
            ("watch_age_seconds", "Since the last word from a watch.", self._silence_s),
        ):
            Gauge(_PREFIX + name, text, registry=registry).set_function(read)

    def note_heard(self) -> None:
        self._heard_at = self._clock()

    def note_leading(self, leads: bool) -> None:
        self._leads = leads
        self.note_heard()

    def render(self) -> bytes:
        self._deployments.clear()
        for reason, count in Counting(map(_find_reason, self._store.resources())).items():
            self._deployments.labels(reason).set(count)
        return generate_latest(self.registry)

    def find_fault(self) -> str | None:
        """Why this process should be started anew; None: it is well. A replica that waits is well."""
        if self._queue.idle_s > STUCK_S:
            return f"deployments wait, and for {self._queue.idle_s:.0f} s none was looked at"
        if self._leads and self._silence_s() > SILENCE_S:
            return f"no watch has said anything for {self._silence_s():.0f} s"
        return None

    def _silence_s(self) -> float:
        return self._clock() - self._heard_at if self._leads else 0.0


def _find_reason(resource: Mapping[str, Any]) -> str:
    conditions = (resource.get("status") or {}).get("conditions") or ()
    return next(
        (str(each["reason"]) for each in conditions if each["type"] == ConditionType.READY), "Unknown"
    )


@asynccontextmanager
async def serve_metrics(metrics: Metrics, port: int) -> AsyncIterator[int]:
    """Yields the port, which the system chooses when it is 0."""

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def check(_: web.Request) -> web.Response:
        fault = metrics.find_fault()
        return web.Response(text=fault or "ok", status=503 if fault else 200)

    app = web.Application()
    app.add_routes([web.get("/metrics", show), web.get("/healthz", check)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "0.0.0.0", port)  # noqa: S104  # kubelet and Prometheus come from outside
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
