"""The API server: lists and watches of the two kinds that the gateway reads, with bounds on every wait.

The only module that knows the Kubernetes client; `watching` drives what is built here. The client's own watch
is not used: it goes on after an expired version as if nothing had been missed.
"""

import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from pydantic import ValidationError
from tercet_wire.names import API_GROUP, API_VERSION, LABEL_MANAGED_BY, MANAGER, PLURAL

from tercet_gateway.cluster.objects import Deployment, Slice, parse_deployment, parse_slice
from tercet_gateway.cluster.view import Gone, Listed, Object, Put
from tercet_gateway.cluster.watching import ClusterUnavailable, News, VersionExpired
from tercet_gateway.logs import log_event
from tercet_gateway.settings import ClusterSettings

_log: Final = logging.getLogger(__name__)
_PAGE: Final = 500
"""Objects in one answer to a list."""
_LIST_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=5)
_WATCH_S: Final = 300
"""After about this long the API server ends a watch, and another begins."""
_WATCH_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=90)
"""A bookmark comes each minute; a connection that is silent for longer may be dead."""
_EXPIRED: Final = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`path`: of the API group and version; `selector`: labels."""

    type: type[Deployment] | type[Slice]
    path: str
    plural: str
    selector: str
    parse: Callable[[object], Object]


DEPLOYMENTS: Final = Kind(
    type=Deployment,
    path=f"/apis/{API_GROUP}/{API_VERSION}",
    plural=PLURAL,
    selector="",
    parse=parse_deployment,
)
SLICES: Final = Kind(
    type=Slice,
    path="/apis/discovery.k8s.io/v1",
    plural="endpointslices",
    selector=f"{LABEL_MANAGED_BY}={MANAGER}",
    parse=parse_slice,
)


@asynccontextmanager
async def open_api(settings: ClusterSettings) -> AsyncIterator[ApiClient]:
    configuration = Configuration(connection_pool_maxsize=0)  # each watch holds one: no bound
    if settings.kubeconfig is None:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call] # theirs
    else:
        await load_kube_config(  # type: ignore[no-untyped-call] # theirs
            config_file=settings.kubeconfig, client_configuration=configuration
        )
    async with ApiClient(configuration) as api:
        yield api


class KubeSource:
    """Objects of one kind in a namespace, or with None in all of them."""

    def __init__(self, api: ApiClient, kind: Kind, namespace: str | None, page: int = _PAGE) -> None:
        self._api = api
        self._kind = kind
        self._namespace = namespace
        self._page = page
        place = "" if namespace is None else f"/namespaces/{namespace}"
        self._path = f"{kind.path}{place}/{kind.plural}"

    async def read_all(self) -> tuple[Listed, str]:
        """Page by page, all of one version; and that version."""
        objects: list[Object] = []
        token = ""
        while True:
            found, version, token = await self._read_page(token)
            objects.extend(found)
            if not token:
                return Listed(self._kind.type, self._namespace, tuple(objects)), version

    async def follow(self, version: str) -> AsyncGenerator[News]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            # Spread, so that gateways that came together do not come again together.
            "timeoutSeconds": str(int(_WATCH_S * random.uniform(0.8, 1.2))),  # noqa: S311 - no secret
        }
        async with self._get(query, _WATCH_TIMEOUT) as response:
            async for line in response.content:
                yield self._read_news(orjson.loads(line))

    async def _read_page(self, token: str) -> tuple[list[Object], str, str]:
        """Objects, the version of the list, and the token of the next page, empty after the last."""
        query = {"limit": str(self._page)} | ({"continue": token} if token else {})
        async with self._get(query, _LIST_TIMEOUT) as response:
            page = orjson.loads(await response.read())
            found = [parsed for raw in page["items"] if (parsed := self._parse(raw)) is not None]
            return found, page["metadata"]["resourceVersion"], page["metadata"].get("continue", "")

    @asynccontextmanager
    async def _get(
        self, query: dict[str, str], limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """ClusterUnavailable or VersionExpired for whatever goes wrong, in the block too."""
        if self._kind.selector:
            query = query | {"labelSelector": self._kind.selector}
        try:
            method, url, headers, *_ = await self._api.param_serialize(
                method="GET",
                resource_path=self._path,
                query_params=list(query.items()),
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
            )
            answer = await self._api.call_api(method, url, headers, _request_timeout=limits)
            async with answer.response as response:
                if response.status != 200:
                    raise _refusal(response.status, await response.text())
                yield response
        except (aiohttp.ClientError, ConfigException, OSError, ValueError, KeyError) as error:
            raise ClusterUnavailable(f"{self._kind.plural}: {type(error).__name__}: {error}") from error

    def _read_news(self, raw: Any) -> News:  # JSON, its shape as the API server's
        """A line of a watch."""
        written = raw["object"]
        if raw["type"] == "ERROR":
            raise _refusal(written.get("code", 0), written.get("message", ""))
        version = written["metadata"]["resourceVersion"]
        found = None if raw["type"] == "BOOKMARK" else self._parse(written)
        if found is None:
            return News(version=version)
        return News(version=version, event=Gone(found) if raw["type"] == "DELETED" else Put(found))

    def _parse(self, raw: object) -> Object | None:
        try:
            return self._kind.parse(raw)
        except ValidationError as error:
            log_event(_log, "object_ignored", kind=self._kind.plural, why=str(error))
            return None


def _refusal(status: int, text: str) -> Exception:
    if status == _EXPIRED:
        return VersionExpired(text)
    return ClusterUnavailable(f"the API server answered {status}: {text[:300]}")
