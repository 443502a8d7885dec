"""The bytes of a stream, and what the SDK's accumulator makes of them."""

import base64
import json
from typing import Any

import pytest
from openai.lib.streaming._deltas import accumulate_delta
from openai.types.chat import ChatCompletionChunk
from tercet_gateway.completions import Completion, render_usage
from tercet_gateway.errors import error_body, internal_error
from tercet_gateway.frames import DONE, PING, Frames
from tercet_wire.messages import TokenLogprob, Usage

SPOKEN = Completion(id="chatcmpl-1", model='a "model"', created=5, audio_id="audio_1", expires_at=99)
WRITTEN = Completion(id="chatcmpl-1", model="m", created=5)


def read(*frames: bytes) -> list[Any]:
    """The JSON of each event; every event is a whole one."""
    events = b"".join(frames).split(b"\n\n")
    assert events.pop() == b""
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


def test_every_frame_is_a_chunk_of_the_sdk() -> None:
    """The SDK's own type takes each of them."""
    frames = Frames(SPOKEN, include_usage=True)
    usage = render_usage(Usage(prompt_tokens=1))
    made = (frames.opening(), frames.text("é\n"), frames.sound(bytes(12)), frames.sound_end())
    for event in read(*made, frames.finish("stop"), frames.usage(usage)):
        chunk = ChatCompletionChunk.model_validate(event)
        assert (chunk.id, chunk.model, chunk.created) == ("chatcmpl-1", 'a "model"', 5)


def test_spoken_reply_adds_up() -> None:
    """One role, one id, one expiry, all the words, all the sound."""
    frames = Frames(SPOKEN, include_usage=False)
    made = (
        frames.opening(),
        frames.text("Hel"),
        frames.sound(b"\1\0" * 3),
        frames.text("lo"),
        frames.sound(b"\2\0" * 4),
        frames.sound_end(),
    )
    total: dict[Any, Any] = {}
    for event in read(*made):
        total = accumulate_delta(total, event["choices"][0]["delta"])
    assert total["role"] == "assistant"
    assert total["audio"]["id"] == "audio_1"
    assert total["audio"]["expires_at"] == 99
    assert total["audio"]["transcript"] == "Hello"
    assert base64.b64decode(total["audio"]["data"], validate=True) == b"\1\0" * 3 + b"\2\0" * 4


@pytest.mark.parametrize("cuts", [[1, 1, 1, 1], [2, 3, 1], [7], [3, 3], [1], [0, 0]])
def test_pieces_of_sound_can_be_joined(cuts: list[int]) -> None:
    """However the stages cut it, only the last piece is padded and no sample is lost."""
    frames = Frames(SPOKEN, include_usage=False)
    pcm = bytes(range(2 * sum(cuts)))
    made, start = [], 0
    for samples in cuts:
        made.append(frames.sound(pcm[start : start + 2 * samples]))
        start += 2 * samples
    events = read(*made, frames.sound_end())
    pieces = [e["choices"][0]["delta"]["audio"]["data"] for e in events[:-1]]
    assert all("=" not in piece for piece in pieces[:-1])
    assert base64.b64decode("".join(pieces)) == pcm


def test_id_comes_even_without_words_or_sound() -> None:
    """The expiry brings it along."""
    (event,) = read(Frames(SPOKEN, include_usage=False).sound_end())
    assert event["choices"][0]["delta"] == {"audio": {"id": "audio_1", "expires_at": 99}}


def test_written_reply() -> None:
    """Text is content, there is no audio and no expiry."""
    frames = Frames(WRITTEN, include_usage=False)
    assert frames.sound_end() == b""
    (event,) = read(frames.text("Hi"))
    assert event["choices"][0]["delta"] == {"content": "Hi"}
    assert "usage" not in event


def test_usage_is_null_in_all_frames_but_its_own() -> None:
    """As the API says for include_usage."""
    frames = Frames(WRITTEN, include_usage=True)
    logprob = TokenLogprob(token="H", bytes=(72,), logprob=-1.0)
    events = read(frames.opening(), frames.text("H"), frames.text("H", (logprob,)), frames.finish("length"))
    assert [event["usage"] for event in events] == [None] * 4
    assert events[2]["choices"][0]["logprobs"]["content"][0]["token"] == "H"
    assert events[3]["choices"][0]["finish_reason"] == "length"


def test_usage_splits_tokens_by_kind() -> None:
    """Parts add up to their sums."""
    usage: Any = render_usage(
        Usage(
            prompt_tokens=100,
            prompt_audio_tokens=20,
            prompt_image_tokens=30,
            prompt_video_tokens=5,
            completion_tokens=7,
            codes=50,
        )
    )
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (100, 57, 157)
    prompt = usage["prompt_tokens_details"]
    assert (prompt["audio_tokens"], prompt["image_tokens"], prompt["text_tokens"]) == (20, 35, 45)
    reply = usage["completion_tokens_details"]
    assert (reply["audio_tokens"], reply["text_tokens"]) == (50, 7)


def test_frames_that_are_no_chunks() -> None:
    """Comment, end and error are what a decoder of server-sent events expects."""
    assert PING.startswith(b":")
    assert DONE == b"data: [DONE]\n\n"
    (event,) = read(Frames(WRITTEN, include_usage=False).error(error_body(internal_error())))
    assert event["error"]["type"] == "server_error"
