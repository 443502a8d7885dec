"""Lays a user's pod template over ours, as kubectl would lay a patch: maps key by key, known lists by key.

Called by `pods`. Lists that Kubernetes keys (containers by name, volumeMounts by path ...) are merged item by
item; any other list or value of the user's takes the place of ours, and null takes it away.
"""

from collections.abc import Mapping
from typing import Any, Final

LIST_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
"""The merge keys of Kubernetes' own strategic merge patch."""


def merge(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """A new document; neither is changed."""
    merged = dict(ours)
    for field, value in theirs.items():
        merged[field] = _merge_field(field, merged.get(field), value)
    return {field: value for field, value in merged.items() if value is not None}


def _merge_field(field: str, ours: Any, theirs: Any) -> Any:
    if isinstance(theirs, Mapping):
        return merge(ours if isinstance(ours, Mapping) else {}, theirs)
    key = LIST_KEYS.get(field)
    if key and _is_keyed(ours, key) and _is_keyed(theirs, key):
        items = {item[key]: item for item in ours}
        for item in theirs:
            items[item[key]] = merge(items.get(item[key], {}), item)
        return list(items.values())
    return theirs


def _is_keyed(items: Any, key: str) -> bool:
    return isinstance(items, list) and all(isinstance(item, Mapping) and key in item for item in items)
