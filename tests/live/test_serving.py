"""What a platform engineer sees: apply, wait, speak, in both layouts, and nothing left afterwards."""

import asyncio
import json
import re

import numpy as np
import pytest
from openai import APIStatusError, AsyncOpenAI

from tests.cluster.waiting import wait_for
from tests.e2e.replies import SPOKEN, ask_about, hear
from tests.live.conftest import Release, build_demo


@pytest.mark.parametrize("layout", ["Colocated", "Disaggregated"])
async def test_a_deployment_becomes_ready_and_speaks(release: Release, layout: str) -> None:
    """Through the gateways' Service, with the official client, while text is still being written."""
    name = layout.lower()
    release.apply(build_demo(name, layout=layout))
    await asyncio.to_thread(release.wait_settled, name)
    async with AsyncOpenAI(base_url=f"{release.url}/v1", api_key="unused") as client:
        reply = await hear(client, {**ask_about(), **SPOKEN, "model": name, "max_tokens": 40})
    assert reply.text
    assert "TA" in reply.order or "AT" in reply.order
    assert np.frombuffer(reply.pcm, np.int16).any()
    shown = release.kubectl.run("get", "omni", name, "--no-headers").split()
    assert shown[:2] == [name, "True"]
    assert shown[3:6] == ["1/1", "1/1", "1/1"]
    release.kubectl.run("delete", "omni", name)
    kinds = "deployments,services,configmaps,pods,poddisruptionbudgets,networkpolicies"

    def is_empty() -> bool:
        left = json.loads(
            release.kubectl.run("get", kinds, f"--selector=tercet.dev/deployment={name}", "--output=json")
        )
        return not left["items"]

    wait_for(is_empty, "all children go with their owner", within_s=90, poll_s=1.0)


async def test_a_model_that_is_not_ready_says_why(release: Release) -> None:
    """503, Retry-After, and the reason that `kubectl get omni` shows."""
    omni = build_demo("broken")
    omni["spec"]["podTemplate"] = {"spec": {"containers": [{"name": "triton", "image": "localhost/none:1"}]}}
    release.apply(omni)
    wait_for(
        lambda: (
            release.kubectl.run("get", "omni", "broken", "--no-headers").split()[1:3]
            == ["False", "ImagePullFailed"]
        ),
        "the image is missed",
        within_s=90,
        poll_s=1.0,
    )
    async with AsyncOpenAI(base_url=f"{release.url}/v1", api_key="unused", max_retries=0) as client:
        with pytest.raises(APIStatusError, match="ImagePullFailed") as caught:
            await client.chat.completions.create(**{**ask_about(), "model": "broken"})
    response = caught.value.response
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    release.kubectl.run("delete", "omni", "broken")


def test_the_chart_tests_itself(release: Release) -> None:
    """`helm test` speaks a turn and says how long the first sound took."""
    release.apply(build_demo("demo"))
    release.wait_settled("demo")
    said = release.helm("test", "tercet", "--logs")
    found = re.search(r".*first sound.*", said)
    assert found, said
    print(found[0])
    release.kubectl.run("delete", "omni", "demo")
