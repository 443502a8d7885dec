"""What the API server last told us, by deployment: filled by watches and lists, read by `reconcile`.

A plain dict in place of kopf's indexes, which cost time quadratic in the number of objects. Objects are kept
as JSON, which takes a fraction of their memory as dicts, and are read when their deployment is looked at; of
pods there is only what `observed` asks for. Knows neither kopf nor the client.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tercet_wire.names import KIND, LABEL_DEPLOYMENT

Manifest = Mapping[str, Any]
Key = tuple[str, str]
"""Namespace and name of an OmniDeployment."""

_POD_METADATA: Final = ("name", "namespace", "uid", "labels", "resourceVersion", "deletionTimestamp")
_POD_STATUS: Final = ("phase", "conditions", "containerStatuses", "initContainerStatuses")


@dataclass(frozen=True, slots=True)
class Entry:
    """A deployment and its children. The deployment is None while only children are known."""

    resource: Manifest | None = None
    children: Mapping[tuple[str, str], Manifest] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """An object as it was last seen."""

    kind: str
    namespace: str
    name: str
    uid: str
    version: int
    document: bytes

    def read(self) -> Manifest:
        document: Manifest = json.loads(self.document)
        return document

    def is_same(self, other: Manifest) -> bool:
        return bool(self.uid == other["metadata"].get("uid"))

    def is_newer(self, other: Manifest) -> bool:
        """Versions of one object are numbers that grow; those of its namesake before it say nothing."""
        return self.is_same(other) and self.version >= int(other["metadata"]["resourceVersion"])


@dataclass(slots=True)
class _Family:
    resource: _Known | None = None
    children: dict[tuple[str, str], _Known] = field(default_factory=dict)


class Store:
    def __init__(self) -> None:
        self._families: dict[Key, _Family] = {}
        self._homes: dict[tuple[str, str, str], Key] = {}
        """Whose children they are known as, by kind, namespace and name: labels can be changed by hand."""

    def __len__(self) -> int:
        return sum(family.resource is not None for family in self._families.values())

    def clear(self) -> None:
        self._families.clear()
        self._homes.clear()

    def keys(self) -> list[Key]:
        return list(self._families)

    def resources(self) -> Iterator[Manifest]:
        return (family.resource.read() for family in self._families.values() if family.resource is not None)

    def get(self, key: Key) -> Entry:
        family = self._families.get(key, _Family())
        return Entry(
            resource=None if family.resource is None else family.resource.read(),
            children={place: known.read() for place, known in family.children.items()},
        )

    def put(self, child: Manifest) -> Key | None:
        """The deployment for which this is news; None if it is nobody's, or older than what is known.

        For a child whose label names another deployment now, that is the one that has lost it.
        """
        if child["kind"] == KIND:
            return self._put_resource(child)
        key, home = find_key(child), self._find_home(child)
        if home is None or ((known := self._find(home, child)) and known.is_newer(child)):
            return None
        if home != key:
            self._drop(home, child)
        if key is not None:
            self._families.setdefault(key, _Family()).children[_place(child)] = _keep(child)
            self._homes[child["kind"], *_identify(child)] = key
        return home

    def _put_resource(self, resource: Manifest) -> Key | None:
        key = _identify(resource)
        family = self._families.setdefault(key, _Family())
        if family.resource is not None and family.resource.is_newer(resource):
            return None
        family.resource = _keep(resource)
        return key

    def remove(self, child: Manifest) -> Key | None:
        """The deployment that it belonged to. A namesake that came after it stays."""
        key = self._find_home(child)
        if key is not None and (known := self._find(key, child)) and known.is_same(child):
            self._drop(key, child)
        return key

    def _find(self, key: Key, child: Manifest) -> _Known | None:
        family = self._families.get(key, _Family())
        return family.resource if child["kind"] == KIND else family.children.get(_place(child))

    def _drop(self, key: Key, child: Manifest) -> None:
        family = self._families[key]
        if child["kind"] == KIND:
            family.resource = None
        else:
            family.children.pop(_place(child), None)
            self._homes.pop((child["kind"], *_identify(child)), None)
        if family.resource is None and not family.children:
            del self._families[key]

    def _find_home(self, child: Manifest) -> Key | None:
        """Where it is known, else where its label says."""
        return self._homes.get((child["kind"], *_identify(child)), find_key(child))

    def replace(self, kind: str, namespace: str | None, items: Iterable[Manifest], version: int) -> set[Key]:
        """What a list of all objects of a kind says; returns the deployments that it changes.

        What is known to be newer than the list is not gone because the list lacks it.
        """
        listed = {_identify(item): item for item in items}
        gone = [
            known.read()
            for known in self._of_kind(kind)
            if namespace in {None, known.namespace}
            and (known.namespace, known.name) not in listed
            and known.version <= version
        ]
        changed = {self.remove(item) for item in gone} | {self.put(item) for item in listed.values()}
        return {key for key in changed if key is not None}

    def _of_kind(self, kind: str) -> Iterator[_Known]:
        for family in self._families.values():
            everything = [*family.children.values(), *([family.resource] if family.resource else [])]
            yield from (known for known in everything if known.kind == kind)


def find_key(child: Manifest) -> Key | None:
    metadata = child["metadata"]
    name = metadata["name"] if child["kind"] == KIND else metadata.get("labels", {}).get(LABEL_DEPLOYMENT)
    return (metadata["namespace"], name) if name else None


def _place(child: Manifest) -> tuple[str, str]:
    return (child["kind"], child["metadata"]["name"])


def _identify(child: Manifest) -> tuple[str, str]:
    return (child["metadata"]["namespace"], child["metadata"]["name"])


def _keep(child: Manifest) -> _Known:
    namespace, name = _identify(child)
    return _Known(
        kind=child["kind"],
        namespace=namespace,
        name=name,
        uid=child["metadata"].get("uid", ""),
        version=int(child["metadata"]["resourceVersion"]),
        document=json.dumps(_trim(child), separators=(",", ":")).encode(),
    )


def _trim(child: Manifest) -> Manifest:
    if child["kind"] != "Pod":
        metadata = {name: value for name, value in child["metadata"].items() if name != "managedFields"}
        return {**child, "metadata": metadata}
    metadata, status = child["metadata"], child.get("status", {})
    return {
        "kind": "Pod",
        "metadata": {name: metadata[name] for name in _POD_METADATA if name in metadata},
        "status": {name: status[name] for name in _POD_STATUS if name in status},
    }
