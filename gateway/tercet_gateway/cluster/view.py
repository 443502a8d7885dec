"""All that is known of the cluster, put together from events: a store without I/O.

`catalog` feeds it what the watches bring, and asks it for the deployments and their fleets. It keeps what it
was told last, however long the API server is away.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, assert_never

from tercet_wire.names import Stage

from tercet_gateway.cluster.objects import Deployment, Ref, Slice
from tercet_gateway.stages.fleet import Endpoint, Fleet

Object = Deployment | Slice


@dataclass(frozen=True, slots=True)
class Put:
    """New or changed."""

    object: Object


@dataclass(frozen=True, slots=True)
class Gone:
    object: Object


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects of this kind in a namespace, or with None in the cluster; others are gone."""

    kind: type[Deployment] | type[Slice]
    namespace: str | None
    objects: tuple[Object, ...]


Event = Put | Gone | Listed

_NO_SLICES: Final[Mapping[Ref, Slice]] = MappingProxyType({})


class ClusterView:
    def __init__(self) -> None:
        self._deployments: dict[Ref, Deployment] = {}
        self._slices: dict[Ref, Slice] = {}
        self._slices_of: dict[Ref, dict[Ref, Slice]] = {}
        self._namespaces_of: dict[str, set[str]] = {}

    @property
    def deployments(self) -> Mapping[Ref, Deployment]:
        return self._deployments

    def receive(self, event: Event) -> set[Ref]:
        """The deployments that this may have changed."""
        match event:
            case Put():
                return self._put(event.object)
            case Gone():
                return self._drop(type(event.object), event.object.ref)
            case Listed():
                return self._replace(event)
            case _:
                assert_never(event)

    def find(self, name: str) -> list[Ref]:
        """Deployments that this name, with or without its namespace, may mean."""
        namespace, slash, bare = name.rpartition("/")
        if slash:
            return [ref for ref in (Ref(namespace, bare),) if ref in self._deployments]
        return [Ref(namespace, name) for namespace in sorted(self._namespaces_of.get(name, ()))]

    def build_fleet(self, ref: Ref) -> Fleet:
        """An endpoint that two slices hold, as happens while one is split, is ready if either says so."""
        merged: dict[tuple[str, str, frozenset[Stage]], Endpoint] = {}
        for part in self._slices_of.get(ref, _NO_SLICES).values():
            for endpoint in part.endpoints:
                place = (endpoint.generation, endpoint.address, endpoint.stages)
                if place not in merged or endpoint.is_ready:
                    merged[place] = endpoint
        deployment = self._deployments.get(ref)
        return Fleet(
            endpoints=tuple(merged.values()), serving=deployment.serving if deployment else frozenset()
        )

    # --- changes -------------------------------------------------------------------------------

    def _put(self, found: Object) -> set[Ref]:
        return self._put_deployment(found) if isinstance(found, Deployment) else self._put_slice(found)

    def _drop(self, kind: type[Object], ref: Ref) -> set[Ref]:
        return self._drop_deployment(ref) if kind is Deployment else self._drop_slice(ref)

    def _put_deployment(self, deployment: Deployment) -> set[Ref]:
        ref = deployment.ref
        self._deployments[ref] = deployment
        self._namespaces_of.setdefault(ref.name, set()).add(ref.namespace)
        return {ref}

    def _drop_deployment(self, ref: Ref) -> set[Ref]:
        if self._deployments.pop(ref, None) is not None:
            self._namespaces_of[ref.name].discard(ref.namespace)
            if not self._namespaces_of[ref.name]:
                del self._namespaces_of[ref.name]
        return {ref}

    def _put_slice(self, part: Slice) -> set[Ref]:
        touched = self._drop_slice(part.ref)
        self._slices[part.ref] = part
        self._slices_of.setdefault(part.deployment, {})[part.ref] = part
        return touched | {part.deployment}

    def _drop_slice(self, ref: Ref) -> set[Ref]:
        part = self._slices.pop(ref, None)
        if part is None:
            return set()
        siblings = self._slices_of[part.deployment]
        del siblings[ref]
        if not siblings:
            del self._slices_of[part.deployment]
        return {part.deployment}

    def _replace(self, listed: Listed) -> set[Ref]:
        kept: Iterable[Ref] = self._deployments if listed.kind is Deployment else self._slices
        gone = {ref for ref in kept if listed.namespace in (None, ref.namespace)}
        gone -= {found.ref for found in listed.objects}
        touched: set[Ref] = set()
        for ref in gone:
            touched |= self._drop(listed.kind, ref)
        for found in listed.objects:
            touched |= self._put(found)
        return touched
