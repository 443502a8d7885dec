"""What a fake API server keeps: objects with versions, who applied what, and a history for watches.

In memory and without I/O; `fake_api` puts HTTP around it. tests/cluster/test_api_contract.py holds the real
server to the same assertions as this one.
"""

import uuid
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from tercet_operator.resources.merging import LIST_KEYS

from tests.operator.defaulting import default

Manifest = dict[str, Any]
Ref = tuple[str, str, str]
"""Kind, namespace, name."""
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: (key,) for name, key in LIST_KEYS.items()},
    "ports": ("containerPort", "port"),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
}
"""Lists that server-side apply merges item by item."""
UNVERSIONED: Final = frozenset({"ConfigMap", "Lease", "Event", "Pod", "Service"})
"""Kinds without metadata.generation."""


class RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, reason: str, message: str = "") -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    version: int
    type: str
    object: Manifest


@dataclass(slots=True, kw_only=True)
class FakeObjects:
    version: int = 1000
    oldest: int = 0
    """Watches from before it are told that their version is gone."""
    objects: dict[Ref, Manifest] = field(default_factory=dict)
    history: list[Event] = field(default_factory=list)
    listeners: list[Callable[[], None]] = field(default_factory=list)
    _applied: dict[tuple[Ref, str, str], Manifest] = field(default_factory=dict)

    def get(self, ref: Ref) -> Manifest:
        if ref not in self.objects:
            raise RefusedError(404, "NotFound", f"{ref[0]} {ref[2]} not found")
        return deepcopy(self.objects[ref])

    def list(
        self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Manifest]:
        return [
            deepcopy(found)
            for ref, found in sorted(self.objects.items())
            if ref[0] == kind and namespace in {None, ref[1]} and matches(found, labels or {})
        ]

    def create(self, manifest: Manifest) -> Manifest:
        manifest = deepcopy(manifest)
        metadata = manifest["metadata"]
        if "name" not in metadata:
            metadata["name"] = metadata.pop("generateName") + uuid.uuid4().hex[:5]
        if refer(manifest) in self.objects:
            raise RefusedError(409, "AlreadyExists", f"{metadata['name']} already exists")
        return self._store(manifest)

    def replace(self, manifest: Manifest) -> Manifest:
        known = self.get(refer(manifest))
        if manifest["metadata"].get("resourceVersion") != known["metadata"]["resourceVersion"]:
            raise RefusedError(409, "Conflict", "the object has been modified")
        return self._store(deepcopy(manifest))

    def apply(self, manifest: Manifest, manager: str, part: str = "") -> Manifest:
        """`part`: a subresource."""
        ref = refer(manifest)
        if part and ref not in self.objects:
            raise RefusedError(404, "NotFound", f"{ref[0]} {ref[2]} not found")
        live = self.objects.get(ref, {})
        wanted = pick(manifest, part)
        merged = apply(live, self._applied.get((ref, manager, part), {}), wanted)
        self._applied[ref, manager, part] = deepcopy(wanted)
        return self._store(merged)

    def patch(self, ref: Ref, document: Manifest, part: str = "") -> Manifest:
        """A merge patch."""
        return self._store(merge(self.get(ref), pick(document, part)))

    def delete(self, ref: Ref, uid: str | None = None) -> Manifest:
        """And all that it owns, as the garbage collector would soon."""
        known = self.get(ref)
        if uid not in {None, known["metadata"]["uid"]}:
            raise RefusedError(409, "Conflict", "the uid is another one")
        del self.objects[ref]
        self._applied = {key: each for key, each in self._applied.items() if key[0] != ref}
        self._tell("DELETED", known)
        for owned in list(self.objects.values()):
            owners = owned["metadata"].get("ownerReferences", [])
            if any(owner["uid"] == known["metadata"]["uid"] for owner in owners):
                self.delete(refer(owned))
        return known

    def _store(self, manifest: Manifest) -> Manifest:
        ref = refer(manifest)
        known = self.objects.get(ref)
        default(manifest)
        metadata = manifest["metadata"]
        if known is None:
            metadata["uid"] = str(uuid.uuid4())
            metadata["creationTimestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        else:
            for name in ("uid", "creationTimestamp", "resourceVersion", "generation"):
                if name in known["metadata"]:
                    metadata[name] = known["metadata"][name]
            if manifest == known:
                return deepcopy(known)
        if ref[0] not in UNVERSIONED and (known is None or known.get("spec") != manifest.get("spec")):
            metadata["generation"] = metadata.get("generation", 0) + 1
        self.objects[ref] = manifest
        self._tell("MODIFIED" if known else "ADDED", manifest)
        return deepcopy(manifest)

    def _tell(self, kind: str, manifest: Manifest) -> None:
        self.version += 1
        manifest["metadata"]["resourceVersion"] = str(self.version)
        self.history.append(Event(version=self.version, type=kind, object=deepcopy(manifest)))
        for listener in self.listeners:
            listener()

    def forget_history(self) -> None:
        """As etcd's compaction does."""
        self.oldest = self.version + 1


def refer(manifest: Mapping[str, Any]) -> Ref:
    return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def matches(manifest: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return bool(labels.items() <= manifest["metadata"].get("labels", {}).items())


def pick(manifest: Manifest, part: str) -> Manifest:
    """What a request to a subresource may write, or one to the object itself."""
    if part:
        names = {"apiVersion", "kind", part}
        metadata = {"name": manifest["metadata"]["name"], "namespace": manifest["metadata"]["namespace"]}
        return {"metadata": metadata} | {name: each for name, each in manifest.items() if name in names}
    return {name: each for name, each in manifest.items() if name != "status"}


def apply(live: Any, before: Any, wanted: Any, field_name: str = "") -> Any:
    """Server-side apply: `live` with `wanted` in it, and without what only `before` had."""
    if isinstance(wanted, Mapping):
        merged = dict(live) if isinstance(live, Mapping) else {}
        before = before if isinstance(before, Mapping) else {}
        for name in before.keys() - wanted.keys():
            merged.pop(name, None)
        for name, value in wanted.items():
            merged[name] = apply(merged.get(name), before.get(name), value, name)
        return merged
    key = find_key(field_name, wanted)
    if key is None:
        return deepcopy(wanted)
    lives, befores, wants = (index(items, key) for items in (live, before, wanted))
    kept = {name: item for name, item in lives.items() if name not in befores or name in wants}
    return [
        apply(kept.get(name), befores.get(name), wants[name]) if name in wants else kept[name]
        for name in {**kept, **wants}
    ]


def find_key(field_name: str, items: Any) -> str | None:
    if not isinstance(items, list) or not items:
        return None
    return next(
        (
            key
            for key in KEYS.get(field_name, ())
            if all(isinstance(each, dict) and key in each for each in items)
        ),
        None,
    )


def index(items: Any, key: str) -> dict[Any, Any]:
    return {item[key]: item for item in items or () if key in item}


def merge(live: Any, document: Any) -> Any:
    """A JSON merge patch."""
    if not isinstance(document, Mapping):
        return deepcopy(document)
    merged = dict(live) if isinstance(live, Mapping) else {}
    for name, value in document.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged
