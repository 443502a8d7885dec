"""Stages that fail, hang or are not there: a typed answer, and no stage left running."""

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import openai
import pytest
from tercet_gateway.settings import Deployment, Endpoints, Settings, Timeouts
from tercet_wire.names import Stage

from tests.gateway.conftest import MODEL, Gateway, build_settings, serve_gateway
from tests.gateway.fake_triton import FakeTriton, Fault, failure, pcm_of, serve_fake_triton

QUESTION: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
SPOKEN: dict[str, Any] = {
    **QUESTION,
    "modalities": ["text", "audio"],
    "audio": {"voice": "Ethan", "format": "pcm16"},
}
NOWHERE = "127.0.0.1:1"


async def listen(gateway: Gateway, body: dict[str, Any], at_each_chunk: Callable[[], None]) -> None:
    async for _ in await gateway.sdk.chat.completions.create(**body, stream=True):
        at_each_chunk()


FAILURES: dict[str, tuple[str, int, str | None, str | None]] = {
    "a request the stage cannot serve": (
        failure("invalid_request", "The picture is too small.", "messages"),
        400,
        None,
        "messages",
    ),
    "a prompt too long": (
        failure("context_length_exceeded", "40000 tokens are too many.", "messages"),
        400,
        "context_length_exceeded",
        "messages",
    ),
    "a full stage": (failure("overloaded", "queue of 10.0.0.7 full"), 503, "overloaded", None),
    "a stage that shuts down": (failure("cancelled", "secret"), 503, "upstream_unavailable", None),
    "a broken stage": (failure("internal", "secret: /srv/model.py"), 500, None, None),
    "Triton's own words": ("Stub process 'secret' is not healthy.", 503, "upstream_unavailable", None),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", FAILURES)
async def test_failure_before_the_first_byte(
    gateway: Gateway, triton: FakeTriton, case: str, stream: bool
) -> None:
    """It is an HTTP error with the envelope, streamed or not, and shows nothing of the inside."""
    text, status, code, param = FAILURES[case]
    triton.faults[Stage.THINKER] = Fault(after=0, text=text)
    response = await gateway.http.post("/v1/chat/completions", json={**QUESTION, "stream": stream})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == ("invalid_request_error" if status == 400 else "server_error")
    assert "secret" not in response.text
    assert "10.0.0.7" not in response.text
    assert (status == 503) == ("retry-after" in response.headers)


@pytest.mark.parametrize("stage", list(Stage))
async def test_failure_in_the_middle_of_a_stream(gateway: Gateway, triton: FakeTriton, stage: Stage) -> None:
    """The SDK raises from the error event; nothing leaks; the other stages are cancelled."""
    begun = asyncio.Event()
    triton.faults = {Stage.THINKER: Fault(after=3), Stage.TALKER: Fault(after=2)}
    triton.faults[stage] = Fault(after=1, text=failure("internal", "secret"), when=begun)
    with pytest.raises(openai.APIError) as failed:
        await listen(gateway, SPOKEN, begun.set)
    assert not isinstance(failed.value, openai.APIStatusError)
    assert failed.value.type == "server_error"
    assert "secret" not in str(failed.value)
    await triton.wait_until_cancelled(*({call.stage for call in triton.calls} - {stage}))


async def test_error_event_ends_the_stream(gateway: Gateway, triton: FakeTriton) -> None:
    """On the wire: good chunks, one error, no [DONE], a proper end of the body."""
    begun = asyncio.Event()
    triton.faults[Stage.THINKER] = Fault(after=1, text=failure("overloaded"), when=begun)
    lines = []
    async with gateway.http.stream(
        "POST", "/v1/chat/completions", json={**QUESTION, "stream": True}
    ) as response:
        async for line in response.aiter_lines():
            begun.set()
            lines += [line] if line else []
    assert all("choices" in line for line in lines[:-1])
    error = json.loads(lines[-1].removeprefix("data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "overloaded")
    assert error.keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stage", list(Stage))
async def test_unreachable_stage_is_503(triton: FakeTriton, stage: Stage) -> None:
    """Whichever of the three is not there, the caller may come again."""
    addresses = {each.value: (NOWHERE if each is stage else triton.endpoint,) for each in Stage}
    deployment = Deployment(model=MODEL, endpoints=Endpoints(**addresses))
    settings = Settings(deployments=(deployment,), timeouts=Timeouts(connect_s=2))
    triton.faults = {Stage.THINKER: Fault(after=1)} if stage is not Stage.THINKER else {}
    async with serve_gateway(settings) as gateway:
        response = await gateway.http.post("/v1/chat/completions", json=SPOKEN)
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "upstream_unavailable"


async def test_turn_goes_to_a_replica_that_answers(triton: FakeTriton) -> None:
    """A dead replica is passed over before anything was said."""
    async with serve_gateway(build_settings(NOWHERE, triton.endpoint)) as gateway:
        for _ in range(3):
            response = await gateway.http.post("/v1/chat/completions", json=SPOKEN)
            assert response.status_code == 200


async def test_proxy_of_the_environment_is_not_asked(
    triton: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leads to the world outside, and replicas are neighbours."""
    monkeypatch.setenv("http_proxy", f"http://{NOWHERE}")
    async with serve_gateway(build_settings(triton.endpoint)) as gateway:
        assert (await gateway.http.post("/v1/chat/completions", json=QUESTION)).status_code == 200


async def test_turns_spread_over_the_replicas(triton: FakeTriton) -> None:
    """A turn goes to the replica that carries the fewest."""
    async with (
        serve_fake_triton() as second,
        serve_gateway(build_settings(triton.endpoint, second.endpoint)) as gateway,
    ):
        triton.faults[Stage.THINKER] = second.faults[Stage.THINKER] = Fault(after=1)
        body = {**QUESTION, "stream": True}
        async with (
            gateway.http.stream("POST", "/v1/chat/completions", json=body),
            gateway.http.stream("POST", "/v1/chat/completions", json=body),
        ):
            assert (len(triton.calls), len(second.calls)) == (1, 1)


@pytest.mark.parametrize(
    "refusal", [failure("cancelled"), failure("overloaded"), "Server is stopping, or the stage is gone."]
)
async def test_turn_that_one_replica_refuses_goes_to_another(triton: FakeTriton, refusal: str) -> None:
    """A stage that is full, shuts down or is gone has said nothing yet, so the turn begins anew elsewhere."""
    for stage in Stage:
        triton.faults[stage] = Fault(after=0, text=refusal)
    async with (
        serve_fake_triton() as second,
        serve_gateway(build_settings(triton.endpoint, second.endpoint)) as gateway,
    ):
        reply = await gateway.sdk.chat.completions.create(**SPOKEN)
        assert reply.choices[0].message.audio is not None
        assert base64.b64decode(reply.choices[0].message.audio.data) == pcm_of([1, 2, 3, 4, 5, 6])
        assert {call.stage for call in second.calls} == set(Stage)


async def test_only_replica_is_not_asked_again(gateway: Gateway, triton: FakeTriton) -> None:
    """It is full: the caller is told so, and does not wait in its queue a second time."""
    triton.faults[Stage.THINKER] = Fault(after=0, text=failure("overloaded"))
    assert (await gateway.http.post("/v1/chat/completions", json=QUESTION)).status_code == 503
    assert len(triton.calls) == 1


async def test_server_that_dies_in_the_middle(gateway: Gateway, triton: FakeTriton) -> None:
    """A lost replica after the first byte is an error event, not a short reply."""
    triton.faults[Stage.THINKER] = Fault(after=1)
    body = {**QUESTION, "stream": True}
    async with gateway.http.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = aiter(response.aiter_lines())
        await anext(lines)
        await triton.stop()
        rest = [line async for line in lines if line]
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "upstream_unavailable"


TIMEOUTS = {
    "nothing at all": (Fault(after=0), Timeouts(first_message_s=1.0)),
    "nothing more": (Fault(after=1), Timeouts(idle_s=0.05)),
    "not in time": (Fault(after=1), Timeouts(total_s=1.0)),
}


@pytest.mark.parametrize("case", TIMEOUTS)
async def test_stage_that_hangs_is_504(
    triton: FakeTriton, serve: Callable[..., AbstractAsyncContextManager[Gateway]], case: str
) -> None:
    """Each phase has its own patience; afterwards the stage is cancelled."""
    fault, timeouts = TIMEOUTS[case]
    triton.faults[Stage.THINKER] = fault
    async with serve(timeouts=timeouts) as gateway:
        response = await gateway.http.post("/v1/chat/completions", json=QUESTION)
        assert response.status_code == 504
        assert response.json()["error"]["code"] == "upstream_timeout"
        await triton.wait_until_cancelled(Stage.THINKER)


async def test_a_turn_that_waits_for_its_place_is_not_taken_for_a_hang(triton: FakeTriton) -> None:
    """It waits as long as the model's stages let it, whatever the gateway's patience with them."""
    placed = asyncio.Event()
    triton.faults[Stage.THINKER] = Fault(after=1, text=failure("overloaded"), when=placed)
    settings = build_settings(triton.endpoint, timeouts=Timeouts(idle_s=0.05))
    deployment = replace(settings.deployments[0], queue_s=30.0)
    async with serve_gateway(replace(settings, deployments=(deployment,))) as gateway:
        asking = asyncio.create_task(gateway.http.post("/v1/chat/completions", json=QUESTION))
        await asyncio.sleep(0.3)
        placed.set()
        assert (await asking).json()["error"]["code"] == "overloaded"


async def test_reply_without_a_finish_reason_is_a_failure(gateway: Gateway, triton: FakeTriton) -> None:
    """A reply that stops short never looks like a whole one."""
    triton.finish_reason = None
    response = await gateway.http.post("/v1/chat/completions", json=QUESTION)
    assert response.status_code == 500


async def test_long_prefill_is_covered_by_heartbeats(
    triton: FakeTriton, serve: Callable[..., AbstractAsyncContextManager[Gateway]]
) -> None:
    """A comment keeps the connection alive; a failure after it is an event."""
    prefilled = asyncio.Event()
    triton.faults[Stage.THINKER] = Fault(after=0, text=failure("internal"), when=prefilled)
    async with serve(timeouts=Timeouts(heartbeat_s=0.02)) as gateway:
        body = {**QUESTION, "stream": True}
        async with gateway.http.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = aiter(response.aiter_lines())
            assert await anext(lines) == ": ping"
            prefilled.set()
            rest = [line async for line in lines if line.startswith("data: ")]
    assert [json.loads(line.removeprefix("data: ")).keys() for line in rest] == [{"error"}]
