"""What the operator relies on in an API server, as assertions that the fake and the real one must pass.

Run by tests/operator/test_fake_api.py and tests/cluster/test_api_contract.py. Each function takes the
operator's own client and a namespace to itself.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import pytest
from kubernetes.aio import watch
from kubernetes.aio.client import CoreV1Api
from tercet_operator.cluster import ApiError, Cluster
from tercet_operator.comparing import is_part
from tercet_operator.plan import render_children
from tercet_operator.resources.naming import Owner
from tercet_operator.settings import Images
from tercet_wire.names import KIND, LABEL_MANAGED_BY, MANAGER
from tercet_wire.spec import OmniDeployment

Manifest = dict[str, Any]
WATCH_S: Final = 10
TRIES: Final = 20


def build_config(namespace: str, **data: str) -> Manifest:
    labels = {LABEL_MANAGED_BY: MANAGER, "team": "a"}
    metadata = {"name": "settings", "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def build_resource(namespace: str, **spec: Any) -> Manifest:
    return {
        "apiVersion": "tercet.dev/v1alpha1",
        "kind": KIND,
        "metadata": {"name": "demo", "namespace": namespace},
        "spec": {"model": {"source": "demo://tiny"}, **spec},
    }


def build_children(namespace: str) -> list[Manifest]:
    deployment = OmniDeployment.model_validate(build_resource(namespace, layout="Colocated"))
    return list(render_children(deployment, Owner(namespace=namespace, name="demo"), Images()))


async def check_a_second_apply_writes_nothing(cluster: Cluster, namespace: str) -> None:
    """For all that the operator makes; and what it wanted is there."""
    for manifest in build_children(namespace):
        first = await cluster.apply(manifest)
        assert is_part(manifest, first), manifest["kind"]
        again = await cluster.apply(manifest)
        assert find_own_version(again) == find_own_version(first)


def find_own_version(manifest: Manifest) -> Any:
    """What only a write of ours changes: controllers write the status of some kinds at any moment."""
    generation = manifest["metadata"].get("generation")
    return manifest["metadata"]["resourceVersion"] if generation is None else (generation, manifest["spec"])


async def check_an_apply_gives_up_what_it_leaves_out(cluster: Cluster, namespace: str) -> None:
    """And keeps what another has written."""
    written = await cluster.apply(build_config(namespace, a="1", b="2"))
    written["data"]["c"] = "3"
    await cluster.replace(written)
    after = await cluster.apply(build_config(namespace, a="4"))
    assert after["data"] == {"a": "4", "c": "3"}


async def check_an_apply_keeps_others_list_items(cluster: Cluster, namespace: str) -> None:
    """Of a list that has keys; a merge patch takes them away."""
    *_, server = build_children(namespace)
    await cluster.apply(server)
    await add_container(cluster, namespace, server["metadata"]["name"])
    applied = await cluster.apply(server)
    names = [each["name"] for each in applied["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["theirs", "triton"]
    overwritten = await cluster.overwrite(server)
    assert [each["name"] for each in overwritten["spec"]["template"]["spec"]["containers"]] == ["triton"]


async def add_container(cluster: Cluster, namespace: str, name: str) -> None:
    """As somebody with an editor, who tries again when a controller was faster."""
    for _ in range(TRIES):
        server = await cluster.get("Deployment", namespace, name)
        assert server is not None
        containers = server["spec"]["template"]["spec"]["containers"]
        containers.append({"name": "theirs", "image": "theirs:1"})
        try:
            await cluster.replace(server)
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
        else:
            return
    raise AssertionError(f"never written in {TRIES} tries")


async def check_writes_of_old_versions_are_refused(cluster: Cluster, namespace: str) -> None:
    """So that two leaders cannot both take a lease."""
    config = build_config(namespace, a="1")
    old = await cluster.create(config)
    with pytest.raises(ApiError) as twice:
        await cluster.create(config)
    assert (twice.value.status, twice.value.reason) == (409, "AlreadyExists")
    await cluster.replace(old | {"data": {"a": "2"}})
    with pytest.raises(ApiError) as stale:
        await cluster.replace(old | {"data": {"a": "3"}})
    assert (stale.value.status, stale.value.reason) == (409, "Conflict")
    there = await cluster.get("ConfigMap", namespace, "settings")
    assert there is not None
    assert there["data"] == {"a": "2"}


async def check_a_deletion_is_of_one_object(cluster: Cluster, namespace: str) -> None:
    """Not of a namesake; and what is gone is None."""
    there = await cluster.create(build_config(namespace))
    await cluster.delete("ConfigMap", namespace, "settings", "00000000-0000-0000-0000-000000000000")
    assert await cluster.get("ConfigMap", namespace, "settings") is not None
    await cluster.delete("ConfigMap", namespace, "settings", there["metadata"]["uid"])
    assert await cluster.get("ConfigMap", namespace, "settings") is None
    await cluster.delete("ConfigMap", namespace, "settings", there["metadata"]["uid"])


async def check_status_and_spec_are_apart(cluster: Cluster, namespace: str) -> None:
    """Only the spec counts as a new generation; the status of what is not there is refused."""
    with pytest.raises(ApiError) as missing:
        await cluster.apply_status(namespace, "demo", {"url": "a"})
    assert missing.value.status == 404
    made = await cluster.apply(build_resource(namespace))
    assert made["metadata"]["generation"] == 1
    shown = await cluster.apply_status(namespace, "demo", {"url": "a", "generation": "b"})
    assert (shown["status"], shown["metadata"]["generation"]) == ({"url": "a", "generation": "b"}, 1)
    again = await cluster.apply_status(namespace, "demo", {"url": "a", "generation": "b"})
    assert again["metadata"]["resourceVersion"] == shown["metadata"]["resourceVersion"]
    less = await cluster.apply_status(namespace, "demo", {"url": "a"})
    assert less["status"] == {"url": "a"}
    edited = await cluster.apply(build_resource(namespace, speech={"firstCodes": 9}))
    assert (edited["status"], edited["metadata"]["generation"]) == ({"url": "a"}, 2)


async def check_scaling_leaves_the_rest(cluster: Cluster, namespace: str) -> None:
    """One field, also when it is applied afterwards."""
    *_, server = build_children(namespace)
    before = await cluster.apply(server)
    await cluster.scale(namespace, server["metadata"]["name"], 3)
    after = await cluster.get("Deployment", namespace, server["metadata"]["name"])
    assert after is not None
    assert after["spec"] == before["spec"] | {"replicas": 3}


async def check_lists_choose_by_label(cluster: Cluster, namespace: str) -> None:
    """With kind and version, so that an item is like what a GET shows."""
    made = await cluster.create(build_config(namespace, a="1"))
    stranger = build_config(namespace)
    stranger["metadata"] = {"name": "b", "namespace": namespace, "labels": {"team": "b"}}
    await cluster.create(stranger)
    ours = await cluster.list("ConfigMap", namespace)
    assert ours.items == [made]
    assert ours.version >= int(made["metadata"]["resourceVersion"])
    theirs = await cluster.list("ConfigMap", namespace, "team=b")
    assert [each["metadata"]["name"] for each in theirs.items] == ["b"]
    assert (await cluster.list("ConfigMap", namespace, "team=c")).items == []


async def check_a_watch_tells_what_came_after(cluster: Cluster, namespace: str) -> None:
    """From the version of a list on, in order, of the chosen objects."""
    since = (await cluster.list("ConfigMap", namespace)).version
    made = await cluster.create(build_config(namespace, a="1"))
    await cluster.replace(made | {"data": {"a": "2"}})
    await cluster.delete("ConfigMap", namespace, "settings", made["metadata"]["uid"])
    told = []
    async with watch.Watch() as watching:  # type: ignore[no-untyped-call]
        stream = watching.stream(
            CoreV1Api(cluster.client).list_namespaced_config_map,
            namespace,
            resource_version=str(since),
            label_selector="team=a",
            timeout_seconds=WATCH_S,
        )
        async for event in stream:
            told.append((event["type"], event["raw_object"]["data"]["a"]))
            if event["type"] == "DELETED":
                break
    assert told == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


CONTRACT: Final[tuple[Callable[[Cluster, str], Awaitable[None]], ...]] = tuple(
    check for name, check in list(globals().items()) if name.startswith("check_")
)


def name_check(check: Callable[[Cluster, str], Awaitable[None]]) -> str:
    return check.__name__.removeprefix("check_")
