"""One look at one OmniDeployment: observe -> plan -> apply. Level-triggered, and the only one that writes.

Workers call `reconcile` with keys from the queue. What the API server answers to an apply goes straight into
the store, so that the next look does not start from what was true before.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from tercet_wire.names import KIND

from tercet_operator.announcing import announce, build_event
from tercet_operator.cluster import ApiError, Cluster, Manifest
from tercet_operator.comparing import is_part
from tercet_operator.observed import build_refusal, observe
from tercet_operator.plan import Plan, plan
from tercet_operator.routes import RouteBook
from tercet_operator.settings import OperatorSettings
from tercet_operator.status import Reading
from tercet_operator.store import Key, Store, find_key

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    cluster: Cluster
    store: Store
    routes: RouteBook
    settings: OperatorSettings
    now: Callable[[], datetime] = utc_now

    async def reconcile(self, key: Key) -> Plan:
        """Raises ApiError; the key must then be tried again. Returns what was done."""
        entry = self.store.get(key)
        resource = entry.resource
        if resource is None or "deletionTimestamp" in resource["metadata"]:
            return Plan()  # what belongs to it goes with it
        uid = resource["metadata"]["uid"]
        mine = [child for child in entry.children.values() if _belongs(child, uid)]
        observed = observe(mine, resource.get("status"))
        reading = Reading(
            generation=resource["metadata"]["generation"],
            url=self.settings.gateway_url,
            now=_write_time(self.now()),
            routable=self.routes.find(key),
            gateways_in=self.settings.gateways_in,
        )
        todo = plan(resource, observed, self.settings.images, reading)
        try:
            await self._carry_out(key, todo)
        except ApiError as error:
            if error.is_refusal:
                told = replace(reading, refusal=build_refusal(str(error)))
                await self._tell(key, resource, plan(resource, observed, self.settings.images, told))
            raise
        is_edited = await self._tell(key, resource, todo)
        return replace(todo, goes_on=todo.goes_on or is_edited)

    async def _tell(self, key: Key, resource: Mapping[str, Any], todo: Plan) -> bool:
        """Whether the answer holds an edit: its event will be no news any more."""
        if todo.status is None:
            return False
        answer = await self.cluster.apply_status(*key, todo.status)
        self.store.put(answer)
        await self._announce(key, resource["metadata"]["uid"], resource.get("status") or {}, todo.status)
        return bool(answer["metadata"]["generation"] != resource["metadata"]["generation"])

    async def _carry_out(self, key: Key, todo: Plan) -> None:
        namespace = key[0]
        for manifest in todo.apply:
            self.store.put(await self._write(manifest))
        for scale in todo.scale:
            await self.cluster.scale(namespace, scale.name, scale.replicas)
        children = self.store.get(key).children if todo.delete else {}
        for kind, name in todo.delete:
            if child := children.get((kind, name)):
                await self.cluster.delete(kind, namespace, name, child["metadata"]["uid"])

    async def _write(self, manifest: Manifest) -> Manifest:
        """An apply leaves what others put into a list of ours, and fails where it clashes with ours."""
        try:
            written = await self.cluster.apply(manifest)
        except ApiError as error:
            there = self.store.get(find_key(manifest) or ("", "")).children
            known = (manifest["kind"], manifest["metadata"]["name"]) in there
            if error.status != HTTPStatus.UNPROCESSABLE_ENTITY or not known:
                raise
        else:
            if is_part(manifest, written):
                return written
        return await self.cluster.overwrite(manifest)

    async def _announce(self, key: Key, uid: str, before: Any, after: Any) -> None:
        """An Event that cannot be written is not worth another look: the status says the same."""
        now = _write_time(self.now())
        for news in announce(before, after):
            event = build_event(key, uid, news, now=now, instance=self.settings.identity)
            try:
                await self.cluster.create(event)
            except ApiError as error:
                log.warning("event_lost %s/%s %s: %s", *key, news.reason, error)


def _belongs(child: Any, uid: str) -> bool:
    """Not those of a namesake that was deleted; pods belong by their label, through their ReplicaSet."""
    owners = child["metadata"].get("ownerReferences") or ()
    return child["kind"] == "Pod" or any(owner["kind"] == KIND and owner["uid"] == uid for owner in owners)


def _write_time(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
