"""Servers that die under a turn: what its client is told, and how the deployment comes back by itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import psutil
import pytest
from openai import APIError, AsyncOpenAI, InternalServerError
from tercet_wire.names import Stage

from tests.e2e.idle import POLL_S, wait_until
from tests.e2e.processes import find_servers, find_stage, tritons
from tests.e2e.replies import ENDLESS, SPOKEN, Reply, ask_about, hear, stream
from tests.e2e.served import Served

LONG: dict[str, Any] = {**ask_about(), **ENDLESS, **SPOKEN, "max_tokens": 400}
KEYS = {"message", "type", "param", "code"}
HEAL_S = 240


def is_ready(served: Served) -> bool:
    status = httpx.get(f"{served.url.removesuffix('/v1')}/readyz", timeout=10).status_code
    assert status in {200, 503}
    return status == 200


@asynccontextmanager
async def healing(served: Served) -> AsyncIterator[None]:
    """While a server is away; when the block is left, it has come back by itself."""
    await wait_until(lambda: not is_ready(served))
    yield
    await wait_until(lambda: is_ready(served), HEAL_S)


async def keep_dead(served: Served, *stages: Stage) -> None:
    """Kill the servers of these stages as often as they come back; none named: all."""
    while True:
        servers = [server for stage in stages for server in find_servers(served, stage)]
        for server in servers if stages else tritons(served.process.pid):
            with suppress(psutil.NoSuchProcess):
                server.kill()
        await asyncio.sleep(POLL_S)


async def test_turns_whose_server_dies_end_in_a_typed_error(colocated: Served, sdk: AsyncOpenAI) -> None:
    """If it does not come back: an event of the stream, without [DONE]; the SDK raises it; then it heals."""
    speaking = asyncio.Barrier(2)
    killers = []

    async def kill_when_all_speak() -> None:
        if await speaking.wait() == 0:
            killers.append(asyncio.create_task(keep_dead(colocated)))

    async def listen_to_the_wire() -> list[str]:
        events = []
        async with (
            httpx.AsyncClient(timeout=60) as http,
            http.stream(
                "POST", f"{colocated.url}/chat/completions", json=LONG | {"stream": True}
            ) as response,
        ):
            async for line in response.aiter_lines():
                events += [line.removeprefix("data: ")] if line else []
                if sum('"data":' in event for event in events) == 1 and '"data":' in line:
                    await kill_when_all_speak()
        return events

    async def listen_through_the_sdk() -> None:
        async for chunk in stream(sdk, LONG):
            reply.take(chunk)
            if reply.order.count("A") == 1 and reply.order.endswith("A"):
                await kill_when_all_speak()

    reply = Reply()
    events, raised = await asyncio.gather(
        listen_to_the_wire(), listen_through_the_sdk(), return_exceptions=True
    )
    for killer in killers:
        killer.cancel()
    async with healing(colocated):
        assert isinstance(events, list), events
        error = json.loads(events[-1])["error"]
        assert error.keys() == KEYS
        assert error["type"] == "server_error"
        assert "[DONE]" not in events
        assert isinstance(raised, APIError)
        assert raised.message == error["message"]
    assert (await hear(sdk, ask_about() | SPOKEN)).pcm


async def test_without_code2wav_text_is_still_served(disaggregated: Served) -> None:
    """One stage's server is away: what needs it is refused as such, the rest goes on, and it comes back."""
    spoken = ask_about() | SPOKEN
    async with AsyncOpenAI(base_url=disaggregated.url, api_key="none", max_retries=0) as sdk:
        before = await hear(sdk, spoken)
        killer = asyncio.create_task(keep_dead(disaggregated, Stage.CODE2WAV))
        async with healing(disaggregated):
            written = await hear(sdk, ask_about())
            with pytest.raises(InternalServerError) as refused:
                await sdk.chat.completions.create(**spoken)
            killer.cancel()
        after = await hear(sdk, spoken)
    assert written.text
    assert refused.value.status_code == 503
    assert refused.value.code == "upstream_unavailable"
    assert (after.text, after.codes) == (before.text, before.codes)


async def test_stage_whose_process_dies_is_served_again(disaggregated: Served) -> None:
    """Triton alone would stay ready and fail every turn from then on."""
    spoken = ask_about() | SPOKEN
    async with AsyncOpenAI(base_url=disaggregated.url, api_key="none", max_retries=0) as sdk:
        before = await hear(sdk, spoken)
        find_stage(disaggregated, "talker").kill()
        async with healing(disaggregated):
            pass
        after = await hear(sdk, spoken)
    assert (after.text, after.codes) == (before.text, before.codes)
