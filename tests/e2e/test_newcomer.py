"""First turns with the official SDK: every kind of input, text and speech out, streamed and whole."""

import base64
import io
from typing import Any

import av
import numpy as np
import pytest
from openai import AsyncOpenAI

from tests.e2e.media import IMAGE, INPUTS
from tests.e2e.replies import BYTES_PER_CODE, BYTES_PER_S, SPOKEN, ask_about, count_tokens, hear


def count_media(usage: Any) -> tuple[bool, bool]:
    """Whether the thinker saw something, and whether it heard something."""
    details = usage.prompt_tokens_details
    return details.image_tokens > 0, details.audio_tokens > 0


@pytest.mark.parametrize(
    ("parts", "media"),
    [
        (INPUTS["text"], (False, False)),
        (INPUTS["image"], (True, False)),
        (INPUTS["sound"], (False, True)),
        (INPUTS["video"], (True, True)),
        (INPUTS["all four"], (True, True)),
    ],
    ids=INPUTS.keys(),
)
async def test_each_kind_of_input_is_answered(
    sdk: AsyncOpenAI, parts: list[dict[str, Any]], media: tuple[bool, bool]
) -> None:
    """In writing and whole, in speech and streamed; the usage says that the media have arrived."""
    written = await sdk.chat.completions.create(**ask_about(*parts))
    assert written.choices[0].message.content
    assert count_media(written.usage) == media

    spoken = await hear(sdk, ask_about(*parts) | SPOKEN)
    assert spoken.text
    assert count_media(spoken.usage) == media
    assert 0 < len(spoken.pcm) == spoken.codes * BYTES_PER_CODE
    assert np.frombuffer(spoken.pcm, np.int16).any()


async def test_streamed_and_whole_say_the_same(sdk: AsyncOpenAI) -> None:
    """One seed, two ways to take the reply."""
    whole = await sdk.chat.completions.create(**ask_about())
    streamed = await hear(sdk, ask_about())
    assert streamed.text == whole.choices[0].message.content
    assert streamed.finish_reason == whole.choices[0].finish_reason
    assert streamed.counts() == count_tokens(whole.usage)
    assert streamed.pcm == b""


async def test_a_conversation_goes_on(sdk: AsyncOpenAI) -> None:
    """A spoken reply can be sent back by its id, and means the words that were spoken."""
    question = ask_about(IMAGE) | SPOKEN
    first = (await sdk.chat.completions.create(**question)).choices[0].message
    assert first.audio is not None
    followed = [
        await sdk.chat.completions.create(
            **{
                **question,
                "messages": [*question["messages"], earlier, {"role": "user", "content": "And then?"}],
            }
        )
        for earlier in (
            {"role": "assistant", "audio": {"id": first.audio.id}},
            {"role": "assistant", "content": first.audio.transcript},
            first,
        )
    ]
    said = [reply.choices[0].message.audio for reply in followed]
    assert all(audio and audio.transcript for audio in said)
    assert len({audio.transcript for audio in said if audio}) == 1
    assert len({reply.usage.prompt_tokens for reply in followed if reply.usage}) == 1


@pytest.mark.parametrize("format", ["wav", "mp3", "flac", "opus", "aac", "pcm16"])
async def test_whole_sound_is_as_long_as_its_codes(sdk: AsyncOpenAI, format: str) -> None:  # noqa: A002
    """In each format; lossy ones may add a frame or two of silence."""
    body = {**ask_about(), **SPOKEN, "audio": {"voice": "Ethan", "format": format}}
    completion = await sdk.chat.completions.create(**body)
    audio = completion.choices[0].message.audio
    assert completion.choices[0].message.content is None
    assert completion.usage is not None
    assert completion.usage.completion_tokens_details is not None
    assert audio is not None
    data = base64.b64decode(audio.data, validate=True)
    expected_s = (completion.usage.completion_tokens_details.audio_tokens or 0) * BYTES_PER_CODE / BYTES_PER_S
    slack_s = 0.0 if format in {"wav", "flac", "pcm16"} else 0.15
    assert expected_s > 0
    assert expected_s - 1e-6 <= measure_s(data, format) <= expected_s + slack_s + 1e-6


def measure_s(data: bytes, format: str) -> float:  # noqa: A002
    if format == "pcm16":
        return len(data) / BYTES_PER_S
    with av.open(io.BytesIO(data)) as file:
        frames = list(file.decode(audio=0))
    return float(sum(frame.samples / frame.sample_rate for frame in frames))


async def test_the_models_are_listed(sdk: AsyncOpenAI) -> None:
    """By the name that requests use."""
    assert [model.id async for model in sdk.models.list()] == ["demo"]
