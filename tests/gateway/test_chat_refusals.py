"""What is refused before any stage hears of it: the status, and all four keys of the envelope."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import openai
import pytest
from tercet_gateway.settings import Limits
from tercet_wire.names import Stage

from tests.gateway.conftest import MODEL, Gateway, eventually
from tests.gateway.fake_triton import FakeTriton, Fault

QUESTION: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
VOICE: dict[str, Any] = {"voice": "Ethan", "format": "wav"}
SPOKEN: dict[str, Any] = {"modalities": ["text", "audio"], "audio": VOICE}

REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "two choices": ({"n": 2}, 400, "unsupported_value", "n"),
    "audio without modalities": ({"audio": VOICE}, 400, "invalid_value", "audio"),
    "modalities without audio": ({"modalities": ["audio"]}, 400, "missing_required_parameter", "audio"),
    "no modalities": ({"modalities": []}, 400, "invalid_value", "modalities"),
    "unknown modality": ({"modalities": ["video"]}, 400, "invalid_value", "modalities[0]"),
    "unknown speaker": (
        {**SPOKEN, "audio": {"format": "wav"}, "speaker": "alloy"},
        400,
        "unsupported_value",
        "speaker",
    ),
    "empty voice": (
        {**SPOKEN, "audio": {**VOICE, "voice": ""}},
        400,
        "unsupported_value",
        "audio.voice",
    ),
    "two voices": ({**SPOKEN, "speaker": "Chelsie"}, 400, "invalid_value", "speaker"),
    "a speaker and no speech": ({"speaker": "Chelsie"}, 400, "invalid_value", "speaker"),
    "unknown voice": (
        {**SPOKEN, "audio": {**VOICE, "voice": {"id": "alloy"}}},
        400,
        "unsupported_value",
        "audio.voice",
    ),
    "unknown format": (
        {**SPOKEN, "audio": {**VOICE, "format": "g711"}},
        400,
        "invalid_value",
        "audio.format",
    ),
    "streamed mp3": (
        {**SPOKEN, "stream": True, "audio": {**VOICE, "format": "mp3"}},
        400,
        "unsupported_value",
        "audio.format",
    ),
    "unknown model": ({"model": "gpt-9"}, 404, "model_not_found", "model"),
    "unknown field": ({"temprature": 1}, 400, "unknown_parameter", "temprature"),
    "unknown field inside": (
        {**SPOKEN, "audio": {**VOICE, "speed": 2}},
        400,
        "unknown_parameter",
        "audio.speed",
    ),
    "tools": ({"tools": [{"type": "function"}]}, 400, "unsupported_parameter", "tools"),
    "a schema for the reply": (
        {"response_format": {"type": "json_object"}},
        400,
        "invalid_value",
        "response_format.type",
    ),
    "a number as text": ({"temperature": "hot"}, 400, "invalid_type", "temperature"),
    "a number too large": ({"temperature": 3}, 400, "invalid_value", "temperature"),
    "too many stops": ({"stop": ["a", "b", "c", "d", "e"]}, 400, "invalid_value", "stop"),
    "a stop that stops at once": ({"stop": ["a", ""]}, 400, "invalid_value", "stop[1]"),
    "no messages": ({"messages": []}, 400, "invalid_value", "messages"),
    "messages of the wrong type": ({"messages": "Hi"}, 400, "invalid_type", "messages"),
    "unknown role": ({"messages": [{"role": "tool", "content": "x"}]}, 400, "invalid_value", "messages[0]"),
    "unknown part": (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
        400,
        "invalid_value",
        "messages[0].content[0]",
    ),
    "wrong type deep inside": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 3}}]}]},
        400,
        "invalid_type",
        "messages[0].content[0].image_url.url",
    ),
    "stream options without a stream": ({"stream_options": {}}, 400, "invalid_value", "stream_options"),
    "obfuscation": (
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        400,
        "unsupported_value",
        "stream_options.include_obfuscation",
    ),
    "both token limits": (
        {"max_tokens": 1, "max_completion_tokens": 1},
        400,
        "invalid_value",
        "max_tokens",
    ),
    "penalty that leaves the range of numbers": (
        {"repetition_penalty": 1e-40},
        400,
        "invalid_value",
        "repetition_penalty",
    ),
    "top logprobs alone": ({"top_logprobs": 2}, 400, "invalid_value", "top_logprobs"),
    "expired audio": (
        {"messages": [*QUESTION["messages"], {"role": "assistant", "audio": {"id": "audio_x"}}]},
        400,
        "audio_not_found",
        "messages[1].audio.id",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_refused_request(gateway: Gateway, triton: FakeTriton, case: str) -> None:
    """One fault, one envelope that names the field; no stage is asked."""
    fields, status, code, param = REFUSED[case]
    response = await gateway.http.post("/v1/chat/completions", json={**QUESTION, **fields})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert triton.calls == []


BODIES: dict[str, tuple[bytes, int, str]] = {
    "ten megabytes of garbage": (b'{"a":' + b"[" * 10_000_000, 413, "content_too_large"),
    "ten megabytes of values": (
        b'{"model": "m", "metadata": [' + b"[]," * 3_000_000 + b"0]}",
        413,
        "content_too_large",
    ),
    "deep in brackets": (b'{"a":' + b"[" * 90_000, 400, "invalid_json"),
    "a string without end": (b'"' + b"x" * 10_000_000, 400, "invalid_json"),
    "not UTF-8": (b'{"model": "\xff\xfe"}', 400, "invalid_json"),
    "nothing": (b"", 400, "invalid_json"),
    "a list": (b"[]", 400, "invalid_type"),
    "null": (b"null", 400, "invalid_type"),
    "a name of a megabyte": (b'{"' + b"x" * 1_000_000 + b'": 1}', 400, "missing_required_parameter"),
    "too large": (b" " * 20_000_001, 413, "content_too_large"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_refused_body(serve: Callable[..., AbstractAsyncContextManager[Gateway]], case: str) -> None:
    """Whatever bytes come, the answer is a small envelope."""
    body, status, code = BODIES[case]
    async with serve(limits=Limits(body_bytes=20_000_000)) as gateway:
        response = await gateway.http.post("/v1/chat/completions", content=body)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (status, code)
        assert error.keys() == {"message", "type", "param", "code"}
        assert len(response.content) < 2000


async def test_body_without_a_length_is_capped_too(
    serve: Callable[..., AbstractAsyncContextManager[Gateway]],
) -> None:
    """A chunked body is cut off once it is too large."""

    async def parts() -> Any:
        for _ in range(100):
            yield b" " * 1000

    async with serve(limits=Limits(body_bytes=50_000)) as gateway:
        response = await gateway.http.post("/v1/chat/completions", content=parts())
        assert response.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/chat/completions", 405), ("POST", "/v1/engines", 404), ("GET", "/v1/models/", 404)],
)
async def test_unknown_address(gateway: Gateway, method: str, path: str, status: int) -> None:
    """The router's own refusals have the envelope too."""
    response = await gateway.http.request(method, path)
    assert response.status_code == status
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}


async def test_sdk_raises_its_own_types(gateway: Gateway) -> None:
    """The SDK reads code and param from our envelope."""
    with pytest.raises(openai.BadRequestError) as refused:
        await gateway.sdk.chat.completions.create(**QUESTION, n=3)
    assert (refused.value.code, refused.value.param) == ("unsupported_value", "n")
    with pytest.raises(openai.NotFoundError):
        await gateway.sdk.models.retrieve("gpt-9")


async def test_ignored_fields_are_accepted(gateway: Gateway) -> None:
    """What changes nothing about the reply is no reason to refuse it."""
    ignored = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "n": 1,
        "tools": None,
    }
    response = await gateway.http.post("/v1/chat/completions", json={**QUESTION, **ignored})
    assert response.status_code == 200, json.dumps(response.json())


async def test_full_house_is_told_when_to_come_again(
    triton: FakeTriton, serve: Callable[..., AbstractAsyncContextManager[Gateway]]
) -> None:
    """With all places taken the answer is 503 with Retry-After; a place that is free again serves."""
    triton.faults[Stage.THINKER] = Fault(after=1)
    async with serve(limits=Limits(turns=1, retry_after_s=7)) as gateway:
        async with gateway.http.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True}):
            response = await gateway.http.post("/v1/chat/completions", json=QUESTION)
            assert response.status_code == 503
            assert response.headers["retry-after"] == "7"
            assert response.json()["error"]["code"] == "overloaded"
        await triton.wait_until_cancelled(Stage.THINKER)
        triton.faults.clear()
        assert (await gateway.http.post("/v1/chat/completions", json=QUESTION)).status_code == 200


async def test_slow_senders_take_no_place_from_others(
    serve: Callable[..., AbstractAsyncContextManager[Gateway]],
) -> None:
    """A place is taken by a request that has come in whole."""
    async with serve(limits=Limits(turns=1)) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Length: 900\r\n\r\n{")
        await eventually(lambda: gateway.count("held_body_bytes") == 1)
        assert (await gateway.http.post("/v1/chat/completions", json=QUESTION)).status_code == 200
        writer.transport.abort()


async def test_bodies_together_have_a_bound(
    serve: Callable[..., AbstractAsyncContextManager[Gateway]],
) -> None:
    """Who comes when it is reached is told to come again, and then is served."""
    async with serve(limits=Limits(bodies_bytes=1000, retry_after_s=7)) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Length: 1001\r\n\r\n")
        writer.write(b" " * 1000)
        await eventually(lambda: gateway.count("held_body_bytes") == 1000)
        refused = await gateway.http.post("/v1/chat/completions", json=QUESTION)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "7")
        assert refused.json()["error"]["code"] == "overloaded"
        writer.transport.abort()
        await eventually(lambda: gateway.count("held_body_bytes") == 0)
        assert (await gateway.http.post("/v1/chat/completions", json=QUESTION)).status_code == 200
