"""What kopf watches for us: every event goes into the store, and its deployment into the queue.

kopf's part ends here. There are no create, update or delete handlers, no timers, daemons or indexes: those
write to the objects, or cost time with their number. Called by `work`.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import kopf
from tercet_wire.names import KIND, LABEL_MANAGED_BY, MANAGER

from tercet_operator.cluster import CHILDREN, PATHS
from tercet_operator.election import LEASE
from tercet_operator.metrics import Metrics
from tercet_operator.queue import WorkQueue
from tercet_operator.stateless import NoDiffBase, NoProgress
from tercet_operator.store import Key, Store

WATCHED: Final = (KIND, *CHILDREN)
OURS: Final = f"{LABEL_MANAGED_BY}={MANAGER}"


def register(
    store: Store, queue: WorkQueue[Key], metrics: Metrics, relisted: asyncio.Event
) -> kopf.OperatorRegistry:
    """A registry with one handler for all that is watched. `relisted` is set when a watch starts anew."""
    registry = kopf.OperatorRegistry()

    async def hear(event: kopf.RawEvent, **_: Any) -> None:
        metrics.note_heard()
        if event["type"] is None:
            relisted.set()
        child = dict(event["object"])
        key = store.remove(child) if event["type"] == "DELETED" else store.put(child)
        if key is not None:
            queue.add(key, asked=is_unseen(child))

    async def hear_lease(**_: Any) -> None:
        metrics.note_heard()

    kopf.on.login(registry=registry)(log_in)
    for kind in WATCHED:
        group, version, plural = _locate(kind)
        kopf.on.event(group=group, version=version, plural=plural, registry=registry)(hear)
    group, version, plural = _locate("Lease")
    kopf.on.event(group=group, version=version, plural=plural, registry=registry)(hear_lease)
    return registry


def is_unseen(changed: Mapping[str, Any]) -> bool:
    """A deployment that was made or edited, and not looked at since."""
    if changed["kind"] != KIND:
        return False
    seen = (changed.get("status") or {}).get("observedGeneration")
    return bool(seen != changed["metadata"]["generation"])


def log_in(**given: Any) -> kopf.ConnectionInfo | None:
    """In a pod by the address that Kubernetes gives it: kopf would ask DNS for the API server's name."""
    found = kopf.login_with_service_account(**given)
    if found is None:
        return kopf.login_with_kubeconfig(**given)
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return replace(found, server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")


def build_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # the lease elects
    settings.scanning.disabled = True
    settings.posting.enabled = False  # events are `announcing`'s
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    for kind in CHILDREN:
        settings.watching.label_selectors[_locate(kind)[2]] = OURS
    settings.watching.field_selectors[_locate("Lease")[2]] = f"metadata.name={LEASE}"
    return settings


def _locate(kind: str) -> tuple[str, str, str]:
    """Group, version and plural name; the core group is empty."""
    path, plural = PATHS[kind]
    *_, group, version = ("", *path.split("/")[1:])
    return group, version, plural
