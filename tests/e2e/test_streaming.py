"""Speech while the text is still being written: the order and the shape of what is streamed."""

import base64
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState

from tests.e2e.replies import BYTES_PER_CODE, ENDLESS, SPOKEN, ask_about, hear, stream
from tests.e2e.served import Served

STORY = {**ask_about(text="Tell me a story."), **ENDLESS, **SPOKEN}

ATTEMPTS = 10
"""One on a busy machine need not show it."""


async def test_speech_begins_before_the_text_is_written(sdk: AsyncOpenAI) -> None:
    """A long reply, since the tiny thinker writes 600 tokens a second and nobody speaks as fast."""
    reply = await hear(sdk, STORY | {"max_tokens": 2000}, until=lambda reply: "AT" in reply.order)
    assert "AT" in reply.order


@pytest.mark.soak
async def test_sixty_tokens_leave_time_to_begin_to_speak(sdk: AsyncOpenAI) -> None:
    """Even at that speed, on a machine that does nothing else."""
    for _ in range(ATTEMPTS):
        reply = await hear(sdk, STORY | {"max_tokens": 60})
        if "AT" in reply.order:
            return
    pytest.fail(f"in none of {ATTEMPTS} replies did speech begin before the last words: {reply.order}")


async def test_sound_comes_in_groups_of_three_samples(sdk: AsyncOpenAI) -> None:
    """So that base64 texts can be joined before they are decoded; only the last may be shorter."""
    reply = await hear(sdk, STORY | {"max_tokens": 60})
    assert len(reply.pieces) > 3
    assert [len(piece) % 6 for piece in reply.pieces[:-1]] == [0] * (len(reply.pieces) - 1)
    assert len(reply.pcm) == reply.codes * BYTES_PER_CODE


async def test_the_sdk_adds_the_deltas_up(sdk: AsyncOpenAI) -> None:
    """One id, one expiry, the transcript, and base64 that is the exact sound."""
    reply = await hear(sdk, STORY)
    audio = reply.message["audio"]
    assert audio["id"].count("audio_") == 1
    assert audio["transcript"] == reply.text
    assert base64.b64decode(audio["data"], validate=True) == reply.pcm
    again = await sdk.chat.completions.create(**STORY)
    assert again.choices[0].message.audio is not None
    assert abs(audio["expires_at"] - again.choices[0].message.audio.expires_at) < 600
    assert reply.message["role"] == "assistant"
    assert reply.message["content"] is None


async def test_the_sdks_own_stream_state_takes_it(sdk: AsyncOpenAI) -> None:
    """Its snapshot of the completion ends with reason and usage."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    async for chunk in stream(sdk, STORY):
        state.handle_chunk(chunk)
    final = state.current_completion_snapshot
    assert final.choices[0].finish_reason == "length"
    assert final.usage is not None
    assert final.usage.completion_tokens_details is not None
    assert final.usage.completion_tokens_details.text_tokens == STORY["max_tokens"]


@pytest.mark.parametrize("spoken", [{}, SPOKEN], ids=["text", "speech"])
async def test_a_good_stream_ends_with_done(colocated: Served, spoken: dict[str, Any]) -> None:
    """Finish reason, usage, [DONE], in this order; nothing follows."""
    body = {**ask_about(), **spoken, "stream": True, "stream_options": {"include_usage": True}}
    async with httpx.AsyncClient(timeout=60) as http:
        response = await http.post(f"{colocated.url}/chat/completions", json=body)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = response.text.removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert '"usage":{' in events[-2]
    assert '"finish_reason":"length"' in events[-3]
    assert response.text.count("[DONE]") == response.text.count('"finish_reason":"length"') == 1
