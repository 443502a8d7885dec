"""What the gateways can route to: asked of each of them, a deployment counts what all of them reach.

`RouteBook` is the pure part that `reconcile` reads; `RouteWatch` is the task that fills it. Without a gateway
in the settings the book stays closed, and ready endpoints count.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import aiohttp
from pydantic import ValidationError
from tercet_wire.names import GATEWAY_METRICS_PORT, ROUTES_PATH, Stage
from tercet_wire.status import Routes

from tercet_operator.cluster import ApiError, Cluster
from tercet_operator.status import Routable
from tercet_operator.store import Key

POLL_S: Final = 2.0
ASK_S: Final = 2.0
MEMORY_S: Final = 10.0
"""How long a gateway's last word counts when it does not answer."""

log = logging.getLogger(__name__)


class RouteBook:
    def __init__(self, *, open_: bool) -> None:
        self._open = open_
        self._routes: dict[Key, Routable] = {}

    def find(self, key: Key) -> Routable | None:
        return self._routes.get(key, {}) if self._open else None

    def write(self, answers: Iterable[Routes]) -> set[Key]:
        """Returns the deployments for which something changed. Without answers nothing is routable."""
        routes = combine(list(answers))
        changed = {
            key for key in routes.keys() | self._routes.keys() if routes.get(key) != self._routes.get(key)
        }
        self._routes = routes
        return changed


def combine(answers: list[Routes]) -> dict[Key, Routable]:
    """The least that any gateway reaches."""
    if not answers:
        return {}
    first, *others = [_parse(answer) for answer in answers]
    return {
        key: {
            place: min(count, *(other.get(key, {}).get(place, 0) for other in others)) if others else count
            for place, count in places.items()
        }
        for key, places in first.items()
    }


def _parse(answer: Routes) -> dict[Key, dict[tuple[str, Stage], int]]:
    parsed = {}
    for name, generations in answer.deployments.items():
        namespace, _, deployment = name.partition("/")
        parsed[namespace, deployment] = {
            (generation, stage): count
            for generation, stages in generations.items()
            for stage, count in stages.items()
        }
    return parsed


class RouteWatch:
    """Asks every gateway every POLL_S seconds; `changed` is called with the deployments to look at."""

    def __init__(
        self, cluster: Cluster, service: str, book: RouteBook, changed: Callable[[set[Key]], None]
    ) -> None:
        self._cluster = cluster
        self._namespace, _, self._service = service.partition("/")
        self._book = book
        self._changed = changed
        self._heard: dict[str, tuple[float, Routes]] = {}

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except ApiError as error:
                log.warning("gateways_unknown: %s", error)  # what was heard last goes on counting
            await asyncio.sleep(POLL_S)

    async def look(self) -> None:
        """Once. Raises ApiError when nobody says which gateways there are."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_S)) as session:
            self._changed(self._book.write(await self._ask_all(session)))

    async def _ask_all(self, session: aiohttp.ClientSession) -> list[Routes]:
        addresses = await self._find_gateways()
        self._heard = {address: heard for address, heard in self._heard.items() if address in addresses}
        return list(await asyncio.gather(*(self._ask(session, address) for address in addresses)))

    async def _find_gateways(self) -> list[str]:
        """Ready ones: the others get no turns."""
        selector = f"kubernetes.io/service-name={self._service}"
        slices = (await self._cluster.list("EndpointSlice", self._namespace, selector)).items
        return sorted(
            _join(endpoint["addresses"][0], _find_port(each))
            for each in slices
            for endpoint in each.get("endpoints") or ()
            if endpoint.get("conditions", {}).get("ready")
        )

    async def _ask(self, session: aiohttp.ClientSession, address: str) -> Routes:
        try:
            async with session.get(f"http://{address}{ROUTES_PATH}") as answer:
                answer.raise_for_status()
                routes = Routes.model_validate_json(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValidationError) as error:
            log.warning("gateway_silent %s: %s", address, error)
            heard_at, routes = self._heard.get(address, (0.0, Routes()))
            return routes if time.monotonic() - heard_at < MEMORY_S else Routes()
        self._heard[address] = (time.monotonic(), routes)
        return routes


def _join(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _find_port(endpoints: Mapping[str, object]) -> int:
    ports = endpoints.get("ports") or ()
    assert isinstance(ports, list | tuple)  # noqa: S101  # the API's own schema
    return next((port["port"] for port in ports if port.get("name") == "metrics"), GATEWAY_METRICS_PORT)
