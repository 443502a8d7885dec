"""The operator's side of the Kubernetes API: a handful of verbs on a handful of kinds, all asynchronous.

`reconcile`, `election` and `routes` call it; `tests/operator/fake_api.py` answers in its place. Writes are
server-side applies by one field manager, which owns what it wrote and nothing else.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from kubernetes.aio.client import ApiClient, ApiException
from tercet_wire.names import API_GROUP, API_VERSION, KIND, LABEL_MANAGED_BY, MANAGER, PLURAL

Manifest = dict[str, Any]
REQUEST_S: Final = 30.0
BUSY_TRIES: Final = 4
"""Of a request that the API server asks to send again later (429)."""
BUSY_S: Final = 5.0
"""The longest wait that it may ask for."""
PAGE: Final = 500
UNKNOWN_FIELD: Final = "failed to create typed patch object"
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"

PATHS: Final[Mapping[str, tuple[str, str]]] = {
    KIND: (f"apis/{API_GROUP}/{API_VERSION}", PLURAL),
    "Deployment": ("apis/apps/v1", "deployments"),
    "Service": ("api/v1", "services"),
    "ConfigMap": ("api/v1", "configmaps"),
    "Pod": ("api/v1", "pods"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "EndpointSlice": ("apis/discovery.k8s.io/v1", "endpointslices"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "Event": ("api/v1", "events"),
}
CHILDREN: Final = (
    "Deployment",
    "Service",
    "ConfigMap",
    "Pod",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "NetworkPolicy",
)
"""Kinds that belong to OmniDeployments."""


class ApiError(Exception):
    """The API server refused, or could not be reached (status 0)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason

    @property
    def is_refusal(self) -> bool:
        """Of what was written, so that trying again does not help: a field, a policy, a quota.

        The API server calls it an error of its own when it does not know a field that is applied.
        """
        return self.status in {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        } or (self.status == HTTPStatus.INTERNAL_SERVER_ERROR and UNKNOWN_FIELD in str(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All objects of a kind as they were at one version of the cluster's state."""

    items: list[Manifest]
    version: int


@dataclass(frozen=True, slots=True)
class Cluster:
    client: ApiClient

    async def list(self, kind: str, namespace: str | None, selector: str | None = None) -> Listing:
        """All of a kind, page by page; children only with the operator's own label."""
        if selector is None and kind in CHILDREN:
            selector = f"{LABEL_MANAGED_BY}={MANAGER}"
        items: list[Manifest] = []
        token = ""
        while True:
            query = {"limit": str(PAGE), "continue": token, "labelSelector": selector or ""}
            answer = await self._request("GET", _path(kind, namespace), query=query)
            group, _ = PATHS[kind]
            version = group.partition("/")[2]
            items += [{"apiVersion": version, "kind": kind, **item} for item in answer["items"]]
            token = answer["metadata"].get("continue", "")
            if not token:
                return Listing(items=items, version=int(answer["metadata"]["resourceVersion"]))

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        try:
            return await self._request("GET", _path(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def apply(self, manifest: Manifest) -> Manifest:
        """Write what we own of an object, whoever wrote it before; returns the whole object."""
        metadata = manifest["metadata"]
        return await self._request(
            "PATCH",
            _path(manifest["kind"], metadata["namespace"], metadata["name"]),
            query={"fieldManager": MANAGER, "force": "true"},
            body=manifest,
            content_type=APPLY,
        )

    async def overwrite(self, manifest: Manifest) -> Manifest:
        """Like `apply`, but a list becomes ours as a whole, with no items of others in it."""
        metadata = manifest["metadata"]
        return await self._request(
            "PATCH",
            _path(manifest["kind"], metadata["namespace"], metadata["name"]),
            query={"fieldManager": MANAGER},
            body=manifest,
            content_type=MERGE,
        )

    async def apply_status(self, namespace: str, name: str, status: Manifest) -> Manifest:
        manifest = {
            "apiVersion": f"{API_GROUP}/{API_VERSION}",
            "kind": KIND,
            "metadata": {"name": name, "namespace": namespace},
            "status": status,
        }
        return await self._request(
            "PATCH",
            f"{_path(KIND, namespace, name)}/status",
            query={"fieldManager": MANAGER, "force": "true"},
            body=manifest,
            content_type=APPLY,
        )

    async def scale(self, namespace: str, name: str, replicas: int) -> None:
        """Of a Deployment whose other fields stay as they are."""
        await self._request(
            "PATCH",
            f"{_path('Deployment', namespace, name)}/scale",
            query={"fieldManager": MANAGER},
            body={"spec": {"replicas": replicas}},
            content_type=MERGE,
        )

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """That object and not a namesake that came after it. Gone already is as good."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._request("DELETE", _path(kind, namespace, name), body=body)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise

    async def create(self, manifest: Manifest) -> Manifest:
        return await self._request(
            "POST", _path(manifest["kind"], manifest["metadata"]["namespace"]), body=manifest
        )

    async def replace(self, manifest: Manifest) -> Manifest:
        """Fails with 409 if the object has changed since it was read."""
        metadata = manifest["metadata"]
        return await self._request(
            "PUT", _path(manifest["kind"], metadata["namespace"], metadata["name"]), body=manifest
        )

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        parameters = [(name, value) for name, value in (query or {}).items() if value]
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            request = await self.client.param_serialize(
                method, path, query_params=parameters, header_params=headers, body=body,
                auth_settings=["BearerToken"],
            )  # fmt: skip
            for _ in range(BUSY_TRIES):
                answer = await self.client.call_api(*request, _request_timeout=REQUEST_S)
                text: bytes = await answer.read()  # type: ignore[no-untyped-call]
                if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                    break
                await asyncio.sleep(_read_wait(answer.headers))
        except ApiException as error:
            raise ApiError(error.status or 0, str(error.reason), str(error.body or "")) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(0, type(error).__name__, str(error)) from error
        if not 200 <= answer.status <= 299:
            raise _parse_error(answer.status, text)
        document: Manifest = json.loads(text)
        return document


def _read_wait(headers: Mapping[str, str]) -> float:
    asked = headers.get("Retry-After", "")
    return min(BUSY_S, float(asked)) if asked.isdecimal() else 1.0


def _parse_error(status: int, text: bytes) -> ApiError:
    """A Status document, or a proxy's plain words."""
    try:
        document = json.loads(text)
        return ApiError(status, str(document.get("reason", "")), str(document.get("message", "")))
    except (ValueError, AttributeError):
        return ApiError(status, "", text.decode(errors="replace")[:500])


def _path(kind: str, namespace: str | None, name: str = "") -> str:
    group, plural = PATHS[kind]
    room = f"/namespaces/{quote(namespace)}" if namespace else ""
    return f"/{group}{room}/{plural}" + (f"/{quote(name)}" if name else "")
