"""The store that events go into: what is known after each of them."""

import pytest
from tercet_gateway.cluster.objects import Deployment, Ref, Slice, parse_deployment, parse_slice
from tercet_gateway.cluster.view import ClusterView, Gone, Listed, Put
from tercet_wire.names import Stage

from tests.gateway.cluster_objects import (
    DRAINING,
    NAMESPACE,
    NEW,
    OLD,
    build_deployment,
    build_slice,
    build_status,
)

ASSISTANT = Ref(NAMESPACE, "assistant")


def deployment(name: str = "assistant", namespace: str = NAMESPACE, *serving: str) -> Deployment:
    raw = build_deployment(name, namespace=namespace)
    return parse_deployment(raw | {"status": build_status(*serving)} if serving else raw)


def part(stage: str, port: int, generation: str = NEW, *, draining: bool = False) -> Slice:
    conditions = DRAINING if draining else None
    return parse_slice(build_slice(stage, port, generation=generation, conditions=conditions))


def addresses(view: ClusterView) -> set[str]:
    return {endpoint.address for endpoint in view.build_fleet(ASSISTANT).endpoints}


def test_fleet_is_all_slices_of_the_deployment() -> None:
    """Over stages and generations; serving generations are the status's."""
    view = ClusterView()
    for event in (
        Put(deployment("assistant", NAMESPACE, NEW)),
        Put(part("thinker", 1)),
        Put(part("talker", 2)),
        Put(part("talker", 3, OLD, draining=True)),
    ):
        assert view.receive(event) == {ASSISTANT}
    fleet = view.build_fleet(ASSISTANT)
    assert fleet.serving == {NEW}
    found = {(e.generation, e.address, e.is_ready) for e in fleet.endpoints}
    assert found == {(NEW, "127.0.0.1:1", True), (NEW, "127.0.0.1:2", True), (OLD, "127.0.0.1:3", False)}
    assert fleet.stages == frozenset(Stage)


def test_slice_that_changes_replaces_what_it_said() -> None:
    """A put is the whole slice."""
    view = ClusterView()
    view.receive(Put(part("thinker", 1)))
    view.receive(Put(part("thinker", 2)))
    assert addresses(view) == {"127.0.0.1:2"}
    assert view.receive(Gone(part("thinker", 2))) == {ASSISTANT}
    assert addresses(view) == set()


@pytest.mark.parametrize("first_draining", [True, False])
def test_endpoint_in_two_slices_is_ready_if_either_says_so(first_draining: bool) -> None:
    """As happens for a moment while the controller moves it."""
    view = ClusterView()
    for name, draining in (("one", first_draining), ("two", not first_draining)):
        raw = build_slice("thinker", 1, conditions=DRAINING if draining else None)
        raw["metadata"]["name"] = name
        view.receive(Put(parse_slice(raw)))
    (endpoint,) = view.build_fleet(ASSISTANT).endpoints
    assert endpoint.is_ready


def test_stages_that_share_an_address_are_servers_of_their_own() -> None:
    """Each slice says what its endpoints host."""
    view = ClusterView()
    view.receive(Put(part("thinker", 1)))
    view.receive(Put(part("talker", 1)))
    stages = [endpoint.stages for endpoint in view.build_fleet(ASSISTANT).endpoints]
    assert stages == [{Stage.THINKER}, {Stage.TALKER}]


def test_list_drops_what_is_not_in_it() -> None:
    """What was missed while the API server was away is caught up, within the namespace that was listed."""
    view = ClusterView()
    other = Ref("team-b", "assistant")
    for found in (deployment(), deployment("gone"), deployment("assistant", "team-b")):
        view.receive(Put(found))
    listed = Listed(Deployment, NAMESPACE, (deployment(), deployment("come")))
    assert view.receive(listed) == {ASSISTANT, Ref(NAMESPACE, "gone"), Ref(NAMESPACE, "come")}
    assert set(view.deployments) == {ASSISTANT, Ref(NAMESPACE, "come"), other}
    view.receive(Put(part("thinker", 1)))
    assert view.receive(Listed(Slice, None, ())) == {ASSISTANT}
    assert addresses(view) == set()
    view.receive(Listed(Deployment, None, ()))
    assert not view.deployments


def test_servers_outlive_their_deployment() -> None:
    """It is deleted first; its pods still drain."""
    view = ClusterView()
    view.receive(Put(deployment()))
    view.receive(Put(part("thinker", 1)))
    view.receive(Gone(deployment()))
    assert ASSISTANT not in view.deployments
    assert addresses(view) == {"127.0.0.1:1"}


NAMES: dict[str, tuple[str, list[Ref]]] = {
    "with its namespace": ("team-a/assistant", [ASSISTANT]),
    "bare and unique": ("reader", [Ref("team-b", "reader")]),
    "bare and in two namespaces": ("assistant", [ASSISTANT, Ref("team-b", "assistant")]),
    "the wrong namespace": ("team-a/reader", []),
    "unknown": ("nobody", []),
    "gone": ("gone", []),
    "only a namespace": ("team-a/", []),
    "too many parts": ("team-a/assistant/1", []),
    "nothing": ("", []),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_that_callers_use(case: str) -> None:
    """With or without the namespace; more than one answer means that the name says too little."""
    view = ClusterView()
    for found in (deployment(), deployment("assistant", "team-b"), deployment("reader", "team-b")):
        view.receive(Put(found))
    view.receive(Put(deployment("gone")))
    view.receive(Gone(deployment("gone")))
    name, expected = NAMES[case]
    assert view.find(name) == expected
