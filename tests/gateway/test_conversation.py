"""A request's messages become the thinker's: system prompt, persona, parts in order, clear refusals."""

import base64
from typing import Any

import pytest
from tercet_gateway.conversation import (
    PERSONA_REPLY,
    SPEECH_PROMPT,
    Conversation,
    EarlierReplies,
    read_conversation,
)
from tercet_gateway.errors import RequestError
from tercet_gateway.media.reader import MediaReader
from tercet_gateway.schemas.chat import ChatRequest
from tercet_gateway.settings import MediaLimits
from tercet_wire.messages import AudioPart, ChatMessage, ImagePart, TextPart, VideoPart

from tests.gateway import media_samples as samples

WAV = samples.wav(samples.tone(0.5, 16_000), 16_000)


def text(role: str, words: str) -> ChatMessage:
    return ChatMessage.model_validate({"role": role, "content": [{"type": "text", "text": words}]})


async def read(
    *messages: dict[str, Any],
    speech: bool = False,
    earlier: EarlierReplies = lambda _: None,
    **fields: Any,
) -> Conversation:
    request = ChatRequest.model_validate({"model": "omni", "messages": messages, **fields})
    async with MediaReader(MediaLimits()) as media:
        return await read_conversation(request, media, speech, earlier)


async def refusal(*messages: dict[str, Any], **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await read(*messages, **fields)
    return caught.value


def user(*parts: dict[str, Any] | str) -> dict[str, Any]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


HELLO = {"role": "user", "content": "Hello"}
RESERVED = (text("system", SPEECH_PROMPT),)
PERSONA = (*RESERVED, text("user", "Be brief."), text("assistant", PERSONA_REPLY))


def test_the_reserved_prompt_is_the_models_own() -> None:
    """Letter by letter: the model's speech depends on it."""
    assert SPEECH_PROMPT == (
        "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, "
        "capable of perceiving auditory and visual inputs, as well as generating text and speech."
    )


@pytest.mark.parametrize(
    ("speech", "system", "opening"),
    [
        (False, [], RESERVED),
        (True, [], RESERVED),
        (False, ["Be brief."], (text("system", "Be brief."),)),
        (True, ["Be brief."], PERSONA),
        (True, [SPEECH_PROMPT], RESERVED),
        (True, ["  "], RESERVED),
        (False, [""], RESERVED),
        (False, ["Be brief.", "Be kind."], (text("system", "Be brief.\n\nBe kind."),)),
        (True, ["Be", "kind."], (*RESERVED, text("user", "Be\n\nkind."), text("assistant", PERSONA_REPLY))),
    ],
)
async def test_the_system_prompt_is_in_its_place(
    speech: bool, system: list[str], opening: tuple[ChatMessage, ...]
) -> None:
    """For speech the reserved prompt always, and the caller's own as the first exchange."""
    messages = [{"role": "system", "content": words} for words in system]
    conversation = await read(*messages, HELLO, speech=speech)
    assert conversation.messages == (*opening, text("user", "Hello"))


async def test_system_text_is_gathered_from_anywhere() -> None:
    """`developer` is system, and a later one still comes first."""
    conversation = await read(
        {
            "role": "developer",
            "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}],
        },
        HELLO,
        {"role": "assistant", "content": "Hi"},
        {"role": "system", "content": "Three."},
        {"role": "user", "content": "Bye"},
    )
    assert conversation.messages == (
        text("system", "One.\n\nTwo.\n\nThree."),
        text("user", "Hello"),
        text("assistant", "Hi"),
        text("user", "Bye"),
    )


async def test_parts_keep_their_order() -> None:
    """Text and media of several messages, with flat arrays to match."""
    png = samples.data_url(samples.picture(), "image/png")
    clip = samples.data_url(samples.video(sound_s=2.0), "video/mp4")
    conversation = await read(
        user("See", image(png), "and", {"type": "video_url", "video_url": {"url": clip}}),
        {"role": "assistant", "content": "I see."},
        user(
            {"type": "input_audio", "input_audio": {"data": base64.b64encode(WAV).decode(), "format": "wav"}},
            {"type": "audio_url", "audio_url": {"url": samples.data_url(WAV)}},
            {"type": "input_audio", "input_audio": {"data": samples.data_url(WAV), "format": "mp3"}},
        ),
    )
    _, first, _, second = conversation.messages
    assert [type(part) for part in first.content] == [TextPart, ImagePart, TextPart, VideoPart]
    assert second.content == (AudioPart(samples=8000),) * 3
    clip_part = first.content[3]
    assert isinstance(clip_part, VideoPart)
    assert len(conversation.samples) == 4 * (clip_part.samples + 3 * 8000)
    assert conversation.audio_input_s == pytest.approx(3.5, abs=0.1)


@pytest.mark.parametrize(
    ("fields", "heard"),
    [
        ({}, True),
        ({"use_audio_in_video": False}, False),
        ({"mm_processor_kwargs": {"use_audio_in_video": False}}, False),
        ({"mm_processor_kwargs": {}}, True),
        ({"use_audio_in_video": True, "mm_processor_kwargs": {"use_audio_in_video": True}}, True),
    ],
)
async def test_the_videos_sound_is_the_callers_choice(fields: dict[str, Any], heard: bool) -> None:
    """In our field or in vLLM's."""
    clip = samples.data_url(samples.video(sound_s=1.0))
    conversation = await read(user({"type": "video_url", "video_url": {"url": clip}}), **fields)
    assert (conversation.audio_input_s > 0) is heard


async def test_two_choices_must_agree() -> None:
    """Neither field wins over the other."""
    error = await refusal(HELLO, use_audio_in_video=True, mm_processor_kwargs={"use_audio_in_video": False})
    assert error.param == "mm_processor_kwargs.use_audio_in_video"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"content": "Hi"}, ["Hi"]),
        ({"content": [{"type": "text", "text": "A"}, {"type": "refusal", "refusal": "B"}]}, ["A", "B"]),
        ({"content": None, "refusal": "No."}, ["No."]),
        ({"content": "", "audio": {"id": "audio_1"}}, ["Spoken."]),
        ({"audio": {"id": "audio_1", "data": "AAAA", "transcript": "Spoken."}}, ["Spoken."]),
        ({"content": "Written.", "audio": {"id": "audio_9"}}, ["Written."]),
    ],
)
async def test_what_the_assistant_said_is_text(message: dict[str, Any], words: list[str]) -> None:
    """Text, refusals, and spoken replies that are still known."""
    conversation = await read(
        HELLO, {"role": "assistant", **message}, HELLO, earlier={"audio_1": "Spoken."}.get
    )
    assert [part.text for part in conversation.messages[2].content if isinstance(part, TextPart)] == words


async def test_a_forgotten_reply_is_refused_with_the_way_out() -> None:
    """The message says what to send in place of the id."""
    error = await refusal(HELLO, {"role": "assistant", "audio": {"id": "audio_2"}}, HELLO)
    assert (error.status, error.code, error.param) == (400, "audio_not_found", "messages[1].audio.id")
    assert "audio.transcript" in error.message


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "system", "content": "Be brief."}], "messages"),
        ([{"role": "assistant", "content": "Hi"}], "messages"),
        ([{"role": "user", "content": ""}], "messages[0].content"),
        ([HELLO, user("", "")], "messages[1].content"),
        ([HELLO, {"role": "assistant", "content": None}], "messages[1].content"),
        ([HELLO, {"role": "assistant", "content": []}], "messages[1].content"),
    ],
)
async def test_messages_without_content_are_refused(messages: list[dict[str, Any]], param: str) -> None:
    """At the message's own content, or at the list where no one asked anything."""
    error = await refusal(*messages)
    assert (error.status, error.type, error.param) == (400, "invalid_request_error", param)


@pytest.mark.parametrize(
    ("part", "field", "code"),
    [
        (image("data:image/png;base64,AAAA"), "image_url.url", "invalid_image"),
        ({"type": "audio_url", "audio_url": {"url": "http://10.0.0.1/"}}, "audio_url.url", "url_not_allowed"),
        ({"type": "video_url", "video_url": {"url": "file:///a.mp4"}}, "video_url.url", "invalid_url"),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            "input_audio.data",
            "invalid_audio",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "https://a.example/", "format": "wav"}},
            "input_audio.data",
            "url_not_allowed",
        ),
    ],
)
async def test_media_are_refused_at_their_field(part: dict[str, Any], field: str, code: str) -> None:
    """The param leads to the very part."""
    error = await refusal({"role": "system", "content": "x"}, HELLO, user("Look:", part))
    assert (error.status, error.code, error.param) == (400, code, f"messages[2].content[1].{field}")


async def test_nothing_is_decoded_for_a_request_that_is_wrong_anyway() -> None:
    """Messages are checked before media: the empty message is reported, not the broken picture."""
    error = await refusal(user(image("data:,")), {"role": "assistant", "content": None})
    assert error.param == "messages[1].content"
