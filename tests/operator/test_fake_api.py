"""The fake API server keeps the contract that the real one is held to in tests/cluster."""

import json
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from kubernetes.aio.client import ApiClient, Configuration
from tercet_operator.cluster import Cluster

from tests.operator.api_contract import CONTRACT, name_check
from tests.operator.cluster_objects import build_ready_pod
from tests.operator.fake_api import FakeApi


@pytest.mark.parametrize("check", CONTRACT, ids=name_check)
async def test_the_fake_keeps_the_contract(check: Callable[[Cluster, str], Awaitable[None]]) -> None:
    """The same assertions, the same client."""
    fake = FakeApi()
    async with fake.serve(), ApiClient(Configuration(host=fake.url)) as client:
        await check(Cluster(client), "speech")


async def test_a_watch_of_long_ago_is_told_so() -> None:
    """In the stream, as the real server does it once etcd has been compacted, which takes minutes there."""
    fake = FakeApi()
    fake.objects.forget_history()
    async with fake.serve(), aiohttp.ClientSession() as session:
        url = f"{fake.url}/api/v1/pods?watch=true&resourceVersion=7"
        async with session.get(url) as answer:
            told = json.loads(await answer.content.readline())
    assert (answer.status, told["type"], told["object"]["code"]) == (200, "ERROR", 410)


async def test_a_quiet_watch_has_bookmarks() -> None:
    """So that the next one can start from there."""
    fake = FakeApi()
    async with (
        fake.serve(),
        aiohttp.ClientSession() as session,
        session.get(f"{fake.url}/api/v1/pods?watch=true") as answer,
    ):
        told = json.loads(await answer.content.readline())
    assert told["type"] == "BOOKMARK"
    assert told["object"]["metadata"] == {"resourceVersion": str(fake.objects.version)}


async def test_lists_come_in_pages() -> None:
    """As large as the client asks for."""
    fake = FakeApi()
    for number in range(5):
        pod = build_ready_pod(name=f"pod-{number}")
        del pod["metadata"]["resourceVersion"]
        fake.objects.create(pod)
    names, token = [], ""
    async with fake.serve(), aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.get(f"{fake.url}/api/v1/pods?limit=2&continue={token}") as answer:
                page = await answer.json()
            names.append([item["metadata"]["name"] for item in page["items"]])
            token = page["metadata"].get("continue", "")
    assert names == [["pod-0", "pod-1"], ["pod-2", "pod-3"], ["pod-4"]]
    assert token == ""
