"""The API server as the tests read and change it: one connection, fast enough to poll.

`kubectl` is for what people type; this is for looking at all children many times in a second.
"""

import base64
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import yaml
from tercet_operator.cluster import CHILDREN, PATHS
from tercet_wire.names import LABEL_DEPLOYMENT

Manifest = dict[str, Any]
PLACES: Final = {
    **PATHS,
    "Namespace": ("api/v1", "namespaces"),
    "Node": ("api/v1", "nodes"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "Role": ("apis/rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "ClusterRole": ("apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
}
CLUSTER_WIDE: Final = {"Namespace", "Node", "ClusterRole", "ClusterRoleBinding"}
WRITTEN: Final = tuple(kind for kind in CHILDREN if kind != "Pod")
"""Kinds that the operator writes itself."""
TIMEOUT_S: Final = 20.0


class Api:
    """In one namespace. Every answer that is not a success is an error, but for 404 where it says so."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        cluster = document["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.namespace = namespace
        self._client = httpx.Client(
            base_url=cluster["server"],
            verify=ssl.create_default_context(cadata=authority),
            headers={"Authorization": f"Bearer {document['users'][0]['user']['token']}"},
            timeout=TIMEOUT_S,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def find(self, kind: str, name: str) -> Manifest | None:
        answer = self._client.get(self._path(kind, name))
        return None if answer.status_code == 404 else self._read(answer)

    def get(self, kind: str, name: str) -> Manifest:
        return self._read(self._client.get(self._path(kind, name)))

    def list_all(self, kind: str, selector: str = "") -> list[Manifest]:
        answer = self._read(self._client.get(self._path(kind), params={"labelSelector": selector}))
        return [{"kind": kind, **item} for item in answer["items"]]

    def apply(self, document: Manifest) -> Manifest:
        """As a person with `kubectl apply --server-side --force-conflicts`."""
        return self._read(
            self._client.patch(
                self._path(document["kind"], document["metadata"]["name"]),
                params={"fieldManager": "test", "force": "true"},
                json=document,
                headers={"Content-Type": "application/apply-patch+yaml"},
            )
        )

    def patch(self, kind: str, name: str, change: Manifest, *, subresource: str = "") -> Manifest:
        """By a merge patch."""
        return self._read(
            self._client.patch(
                self._path(kind, name) + (f"/{subresource}" if subresource else ""),
                params={"fieldManager": "test"},
                json=change,
                headers={"Content-Type": "application/merge-patch+json"},
            )
        )

    def delete(self, kind: str, name: str) -> None:
        self._read(
            self._client.request("DELETE", self._path(kind, name), json={"propagationPolicy": "Background"})
        )

    def children(self, owner: str) -> dict[str, Manifest]:
        """By `Kind/name`."""
        selector = f"{LABEL_DEPLOYMENT}={owner}"
        found = (child for kind in WRITTEN for child in self.list_all(kind, selector))
        return {f"{child['kind']}/{child['metadata']['name']}": child for child in found}

    def pods(self, owner: str) -> list[Manifest]:
        return self.list_all("Pod", f"{LABEL_DEPLOYMENT}={owner}")

    def read_version(self) -> str:
        """Of the cluster's state now, for `pods_since`."""
        version: str = self._read(self._client.get(self._path("Pod")))["metadata"]["resourceVersion"]
        return version

    def pods_since(self, version: str, owner: str) -> Iterator[tuple[str, Manifest]]:
        """All that has happened to a deployment's pods, which the API server remembers for a minute or so."""
        query = {
            "watch": "true",
            "resourceVersion": version,
            "labelSelector": f"{LABEL_DEPLOYMENT}={owner}",
            "timeoutSeconds": "1",
        }
        with self._client.stream("GET", self._path("Pod"), params=query) as answer:
            for line in answer.iter_lines():
                event = json.loads(line)
                assert event["type"] != "ERROR", f"forgotten already: {event}"
                yield event["type"], event["object"]

    def _path(self, kind: str, name: str = "") -> str:
        group, plural = PLACES[kind]
        room = "" if kind in CLUSTER_WIDE else f"/namespaces/{self.namespace}"
        return f"/{group}{room}/{plural}" + (f"/{name}" if name else "")

    @staticmethod
    def _read(answer: httpx.Response) -> Manifest:
        assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.text}"
        document: Manifest = answer.json()
        return document
