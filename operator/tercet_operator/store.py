"""What the API server last told us, by deployment: filled by watches and lists, read by `reconcile`.

A plain dict in place of kopf's indexes, which cost time quadratic in the number of objects. Of pods only what
`observed` looks at is kept. Knows neither kopf nor the client.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tercet_wire.names import KIND, LABEL_DEPLOYMENT

Manifest = Mapping[str, Any]
Key = tuple[str, str]
"""Namespace and name of an OmniDeployment."""

_POD_METADATA: Final = ("name", "namespace", "uid", "labels", "resourceVersion", "deletionTimestamp")
_POD_STATUS: Final = ("phase", "conditions", "containerStatuses", "initContainerStatuses")


@dataclass(slots=True)
class Entry:
    """A deployment and its children. The deployment is None while only children are known."""

    resource: Manifest | None = None
    children: dict[tuple[str, str], Manifest] = field(default_factory=dict)


class Store:
    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._homes: dict[tuple[str, str, str], Key] = {}
        """Whose children they are known as, by kind, namespace and name: labels can be changed by hand."""

    def __len__(self) -> int:
        return sum(entry.resource is not None for entry in self._entries.values())

    def keys(self) -> list[Key]:
        return list(self._entries)

    def resources(self) -> list[Manifest]:
        return [entry.resource for entry in self._entries.values() if entry.resource is not None]

    def get(self, key: Key) -> Entry:
        return self._entries.get(key, Entry())

    def put(self, child: Manifest) -> Key | None:
        """The deployment for which this is news; None if it is nobody's, or older than what is known.

        For a child whose label names another deployment now, that is the one that has lost it.
        """
        if child["kind"] == KIND:
            return self._put_resource(child)
        key, home = find_key(child), self._find_home(child)
        if home is None or _is_older(child, self.get(home).children.get(_place(child))):
            return None
        if home != key:
            self._drop(home, child)
        if key is not None:
            self._entries.setdefault(key, Entry()).children[_place(child)] = _trim(child)
            self._homes[child["kind"], *_identify(child)] = key
        return home

    def _put_resource(self, resource: Manifest) -> Key | None:
        key = _identify(resource)
        entry = self._entries.setdefault(key, Entry())
        if _is_older(resource, entry.resource):
            return None
        entry.resource = _trim(resource)
        return key

    def remove(self, child: Manifest) -> Key | None:
        """The deployment that it belonged to. A namesake that came after it stays."""
        key = self._find_home(child)
        if key is None or (entry := self._entries.get(key)) is None:
            return key
        known = entry.resource if child["kind"] == KIND else entry.children.get(_place(child))
        if _is_same(child, known):
            self._drop(key, child)
        return key

    def _drop(self, key: Key, child: Manifest) -> None:
        entry = self._entries[key]
        if child["kind"] == KIND:
            entry.resource = None
        else:
            entry.children.pop(_place(child), None)
            self._homes.pop((child["kind"], *_identify(child)), None)
        if entry.resource is None and not entry.children:
            del self._entries[key]

    def _find_home(self, child: Manifest) -> Key | None:
        """Where it is known, else where its label says."""
        return self._homes.get((child["kind"], *_identify(child)), find_key(child))

    def replace(self, kind: str, namespace: str | None, items: Iterable[Manifest], version: int) -> set[Key]:
        """What a list of all objects of a kind says; returns the deployments that it changes.

        What is known to be newer than the list is not gone because the list lacks it.
        """
        listed = {_identify(item): item for item in items}
        gone = [
            known
            for known in self._of_kind(kind)
            if namespace in {None, known["metadata"]["namespace"]}
            and _identify(known) not in listed
            and int(known["metadata"]["resourceVersion"]) <= version
        ]
        changed = {self.remove(item) for item in gone} | {self.put(item) for item in listed.values()}
        return {key for key in changed if key is not None}

    def _of_kind(self, kind: str) -> list[Manifest]:
        if kind == KIND:
            return self.resources()
        return [
            child
            for entry in self._entries.values()
            for (its_kind, _), child in entry.children.items()
            if its_kind == kind
        ]


def find_key(child: Manifest) -> Key | None:
    metadata = child["metadata"]
    name = metadata["name"] if child["kind"] == KIND else metadata.get("labels", {}).get(LABEL_DEPLOYMENT)
    return (metadata["namespace"], name) if name else None


def _place(child: Manifest) -> tuple[str, str]:
    return (child["kind"], child["metadata"]["name"])


def _identify(child: Manifest) -> tuple[str, str]:
    return (child["metadata"]["namespace"], child["metadata"]["name"])


def _is_same(child: Manifest, known: Manifest | None) -> bool:
    return known is not None and child["metadata"].get("uid") == known["metadata"].get("uid")


def _is_older(child: Manifest, known: Manifest | None) -> bool:
    """Versions of one object are numbers that grow; those of its namesake before it say nothing."""
    if known is None or not _is_same(child, known):
        return False
    return int(child["metadata"]["resourceVersion"]) <= int(known["metadata"]["resourceVersion"])


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
