"""Streamed replies, as the official SDK and as a reader of the wire see them."""

import base64
import json
from typing import Any

from openai.lib.streaming._deltas import accumulate_delta
from tercet_wire.names import Stage, Tensor

from tests.gateway.conftest import MODEL, Gateway
from tests.gateway.fake_triton import FakeTriton, pcm_of

QUESTION: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
SPOKEN: dict[str, Any] = {
    **QUESTION,
    "modalities": ["text", "audio"],
    "audio": {"voice": "Ethan", "format": "pcm16"},
}


async def read_events(gateway: Gateway, body: dict[str, Any]) -> list[Any]:
    """Every `data:` line: its JSON, or the text of the last."""
    response = await gateway.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line.startswith("data:")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def test_spoken_reply_comes_whole_through_the_sdk(gateway: Gateway, triton: FakeTriton) -> None:
    """The SDK's accumulator ends up with one id, one expiry, the transcript and the exact sound."""
    stream = await gateway.sdk.chat.completions.create(**SPOKEN)
    total: dict[Any, Any] = {}
    async for chunk in stream:
        if chunk.choices:
            total = accumulate_delta(total, chunk.choices[0].delta.model_dump(exclude_unset=True))
    assert total["role"] == "assistant"
    assert total["content"] is None
    audio = total["audio"]
    assert audio["id"].startswith("audio_")
    assert audio["id"].count("audio_") == 1
    assert audio["transcript"] == "Hello you"
    assert 3500 < audio["expires_at"] - chunk.created < 3700
    assert base64.b64decode(audio["data"], validate=True) == pcm_of([1, 2, 3, 4, 5, 6])


async def test_spoken_reply_keeps_the_order_of_the_wire(gateway: Gateway) -> None:
    """Role once and first, expiry the last of the audio, then the reason, the usage and [DONE]."""
    events = await read_events(gateway, {**SPOKEN, "stream_options": {"include_usage": True}})
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": None, "refusal": None}
    assert all("role" not in event["choices"][0]["delta"] for event in events[1:-2])
    audios = [event["choices"][0]["delta"].get("audio") for event in events[:-2]]
    assert [audio for audio in audios if audio][-1].keys() == {"expires_at"}
    assert sum("id" in audio for audio in audios if audio) == 1
    assert events[-3]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["total_tokens"] == 10 + 3 + 6
    assert all(event["usage"] is None for event in events[:-2])
    assert events[-1] == "[DONE]"


async def test_every_piece_of_sound_can_be_joined(gateway: Gateway, triton: FakeTriton) -> None:
    """No piece but the last is padded, whatever the stages' cut."""
    triton.batches = [[1], [2], [3], [4], [5]]
    events = await read_events(gateway, SPOKEN)
    audios = [event["choices"][0]["delta"].get("audio", {}) for event in events[:-1]]
    pieces = [audio["data"] for audio in audios if "data" in audio]
    assert all("=" not in piece for piece in pieces[:-1])
    assert base64.b64decode("".join(pieces)) == pcm_of([1, 2, 3, 4, 5])


async def test_text_reply_touches_neither_talker_nor_code2wav(gateway: Gateway, triton: FakeTriton) -> None:
    """A turn of text is the thinker's alone."""
    stream = await gateway.sdk.chat.completions.create(**QUESTION)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello you"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert [call.stage for call in triton.calls] == [Stage.THINKER]


async def test_states_and_codes_are_passed_on_as_they_came(gateway: Gateway, triton: FakeTriton) -> None:
    """The talker gets the thinker's bytes, code2wav the talker's; both get the turn without its messages."""
    await read_events(gateway, SPOKEN)
    talker, code2wav = triton.call(Stage.TALKER), triton.call(Stage.CODE2WAV)
    assert talker.inputs(Tensor.STATES) == [b"H" * 32, b"l" * 8, b" " * 8]
    assert talker.inputs(Tensor.POSITIONS) == [bytes(36)]
    assert talker.inputs(Tensor.LAST) == [b"\0", b"\0", b"\0", b"\1"]
    assert b"".join(code2wav.inputs(Tensor.CODES)) == b"".join(bytes([n, 0, 0, 0]) for n in range(1, 7))
    for call in (talker, code2wav):
        turn = call.turn()
        assert turn.messages == ()
        assert turn.speech is not None
        assert turn.speech.voice == "Ethan"
    sessions = {call.inputs(Tensor.SESSION)[0] for call in triton.calls}
    assert len(sessions) == 1


async def test_silent_reply_still_ends_properly(gateway: Gateway, triton: FakeTriton) -> None:
    """No codes: no data, but the id, the expiry and the reason."""
    triton.batches = []
    events = await read_events(gateway, SPOKEN)
    audios = [event["choices"][0]["delta"].get("audio", {}) for event in events[:-1]]
    assert not any("data" in audio for audio in audios)
    assert any("expires_at" in audio for audio in audios)
    assert events[-1] == "[DONE]"
