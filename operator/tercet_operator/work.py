"""What a leading operator does: fill the store, watch, and keep workers on the queue until it is cancelled.

`__main__` starts it when this replica is elected. The store is filled by lists before the first look, because
a rollout that does not know of the servers that run would make too many; lists at long intervals also forget
what was deleted while a watch was broken.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import kopf

from tercet_operator.cluster import ApiError, Cluster
from tercet_operator.handlers import WATCHED, build_settings, register
from tercet_operator.metrics import Metrics
from tercet_operator.queue import WorkQueue
from tercet_operator.reconcile import Reconciler
from tercet_operator.routes import RouteBook, RouteWatch
from tercet_operator.settings import OperatorSettings
from tercet_operator.store import Key, Store

RETRY_S: Final = 2.0
FOLLOWERS: Final = 8
"""Of so many workers one looks at what happened; the others do what was asked."""
SETTLE_S: Final = 2.0
"""How long a watch that lists anew is left alone, so that one list follows it and not many."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    settings: OperatorSettings
    cluster: Cluster
    store: Store
    queue: WorkQueue[Key]
    metrics: Metrics
    relisted: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Ends when cancelled, or with the first part that ends: kopf's does on SIGTERM, which it takes."""
        self.metrics.note_leading(True)
        tasks: list[asyncio.Task[None]] = []
        book = RouteBook(open_=bool(self.settings.gateway_service))
        routes = RouteWatch(self.cluster, self.settings.gateway_service, book, self._add_all)
        try:
            await self._fill_at_last(routes)
            tasks += (asyncio.create_task(part) for part in self._parts(book, routes))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Another may lead now: what this one knew grows old, and what it was at would stay locked.
            self.queue.clear()
            self.store.clear()
            self.metrics.note_leading(False)

    def _parts(self, book: RouteBook, routes: RouteWatch) -> Iterator[Coroutine[Any, Any, None]]:
        reconciler = Reconciler(cluster=self.cluster, store=self.store, routes=book, settings=self.settings)
        yield self._watch()
        yield self._resync()
        followers = max(1, self.settings.workers // FOLLOWERS)
        yield from (self._work(reconciler, asked=True) for _ in range(self.settings.workers - followers))
        yield from (self._work(reconciler, asked=False) for _ in range(followers))
        if self.settings.gateway_service:
            yield routes.run()

    async def _watch(self) -> None:
        namespaces = self.settings.namespaces
        await kopf.operator(
            registry=register(self.store, self.queue, self.metrics, self.relisted),
            settings=build_settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
        )

    async def _work(self, reconciler: Reconciler, *, asked: bool) -> None:
        while True:
            key = await self.queue.take(asked=asked)
            try:
                with self.metrics.reconcile_s.time():
                    done = await reconciler.reconcile(key)
            except ApiError as error:
                self._fail(key, error.reason or str(error.status), error)
            except Exception as error:  # noqa: BLE001  # the edge that keeps a worker alive
                self._fail(key, type(error).__name__, error)
            else:
                self.metrics.writes.inc(done.writes)
                if done.goes_on:
                    self.queue.add(key, asked=asked)
                self.queue.done(key)

    def _fail(self, key: Key, reason: str, error: Exception) -> None:
        self.metrics.errors.labels(reason).inc()
        delay_s = self.queue.failed(key)
        known = isinstance(error, ApiError)
        text = "look at %s/%s failed, again in %.1f s: %s"
        log.log(logging.WARNING if known else logging.ERROR, text, *key, delay_s, error, exc_info=not known)

    async def _resync(self) -> None:
        """At long intervals, and soon after a watch had to list anew: that does not say what is gone."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.resync_s):
                    await self.relisted.wait()
                    await asyncio.sleep(SETTLE_S)
            self.relisted.clear()
            try:
                await self._fill()
            except ApiError as error:
                log.warning("lists failed, again in %.0f s: %s", RETRY_S, error)  # the watches go on
                self.relisted.set()
            self._add_all(self.store.keys())

    async def _fill_at_last(self, routes: RouteWatch) -> None:
        """Also with what gateways reach: without that, what serves would first be said not to."""
        while True:
            try:
                await self._fill()
                if self.settings.gateway_service:
                    await routes.look()
            except ApiError as error:
                log.warning("lists failed, again in %.0f s: %s", RETRY_S, error)
                await asyncio.sleep(RETRY_S)
            else:
                # Edited meanwhile, or not: nobody can say, and all workers are free.
                self._add_all(self.store.keys(), asked=True)
                return

    async def _fill(self) -> None:
        for kind in WATCHED:
            for namespace in self.settings.namespaces or (None,):
                listing = await self.cluster.list(kind, namespace)
                self._add_all(self.store.replace(kind, namespace, listing.items, listing.version))

    def _add_all(self, keys: Iterable[Key], *, asked: bool = False) -> None:
        for key in keys:
            self.queue.add(key, asked=asked)
