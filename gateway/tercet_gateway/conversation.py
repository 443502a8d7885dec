"""A chat request's messages, read: media decoded, the system prompt in its place.

Called by the chat route, before the turn is begun. Knows the schemas and what the model wants to hear, but
no stage.

The model speaks only under the one system prompt that it was trained with. So for speech the caller's own
system text becomes the first exchange: the user says it, verbatim, and the assistant agrees. That is the
model's makers' advice for personas, and keeps the text where the model heeds it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from tercet_wire.messages import ChatMessage, TextPart
from tercet_wire.names import INPUT_SAMPLE_RATE_HZ

from tercet_gateway.errors import RequestError
from tercet_gateway.media.reader import MediaPart, MediaReader, Source
from tercet_gateway.schemas import chat

SPEECH_PROMPT: Final = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving "
    "auditory and visual inputs, as well as generating text and speech."
)
"""Without this very sentence the model does not speak well; it also stands in for a missing system text."""

PERSONA_REPLY: Final = "Understood. I will follow these instructions in everything I say."

EarlierReplies = Callable[[str], str | None]
"""What an earlier spoken reply said, by its id; None for one that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What Turn.messages, PIXELS and SAMPLES (float32 little-endian) are made of."""

    messages: tuple[ChatMessage, ...]
    pixels: bytes
    samples: bytes
    audio_input_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A message whose media have not been read yet."""

    role: Literal["user", "assistant"]
    content: tuple[TextPart | Source, ...]


def _none_known(_: str) -> None:
    return None


async def read_conversation(
    request: chat.ChatRequest,
    media: MediaReader,
    speech: bool,
    earlier: EarlierReplies = _none_known,
) -> Conversation:
    """RequestError, with the field's name, for whatever cannot be read."""
    drafts = _draft_messages(request.messages, earlier)
    sources = [part for draft in drafts for part in draft.content if isinstance(part, Source)]
    read = await media.read(sources, video_sound=_video_sound(request))
    parts = iter(read.parts)
    return Conversation(
        messages=(*_opening(request.messages, speech), *(_finish(draft, parts) for draft in drafts)),
        pixels=read.pixels,
        samples=read.samples,
        audio_input_s=len(read.samples) / 4 / INPUT_SAMPLE_RATE_HZ,
    )


def _finish(draft: _Draft, media: Iterator[MediaPart]) -> ChatMessage:
    content = tuple(next(media) if isinstance(part, Source) else part for part in draft.content)
    return ChatMessage(role=draft.role, content=content)


def _text(role: Literal["system", "user", "assistant"], text: str) -> ChatMessage:
    return ChatMessage(role=role, content=(TextPart(text=text),))


# --- system prompt and persona -----------------------------------------------------------------


def _opening(messages: Sequence[chat.Message], speech: bool) -> tuple[ChatMessage, ...]:
    """The system prompt, and for speech the caller's system text as the first exchange."""
    texts = [
        part.text.strip()
        for message in messages
        if isinstance(message, chat.SystemMessage)
        for part in message.content
    ]
    persona = "\n\n".join(text for text in texts if text)
    if not persona or persona == SPEECH_PROMPT:
        return (_text("system", SPEECH_PROMPT),)
    if not speech:
        return (_text("system", persona),)
    return _text("system", SPEECH_PROMPT), _text("user", persona), _text("assistant", PERSONA_REPLY)


def _video_sound(request: chat.ChatRequest) -> bool | None:
    """Our field and vLLM's say the same; both at once must agree."""
    ours = request.use_audio_in_video
    theirs = request.mm_processor_kwargs.use_audio_in_video if request.mm_processor_kwargs else None
    if ours is not None and theirs is not None and ours != theirs:
        raise RequestError(
            "use_audio_in_video is given twice, with different values.",
            code="invalid_value",
            param="mm_processor_kwargs.use_audio_in_video",
        )
    return theirs if ours is None else ours


# --- user and assistant messages ---------------------------------------------------------------


def _draft_messages(messages: Sequence[chat.Message], earlier: EarlierReplies) -> list[_Draft]:
    drafts = []
    for index, message in enumerate(messages):
        match message:
            case chat.UserMessage():
                drafts.append(_draft_user(message, f"messages[{index}]"))
            case chat.AssistantMessage():
                drafts.append(_draft_assistant(message, f"messages[{index}]", earlier))
            case chat.SystemMessage():
                continue
            case _:
                assert_never(message)
    if not any(draft.role == "user" for draft in drafts):
        raise RequestError("There is no user message to reply to.", code="invalid_value", param="messages")
    return drafts


def _draft_user(message: chat.UserMessage, param: str) -> _Draft:
    parts = tuple(
        _draft_part(part, f"{param}.content[{index}]") for index, part in enumerate(message.content)
    )
    content = tuple(part for part in parts if isinstance(part, Source) or part.text)
    if not content:
        raise _empty(param)
    return _Draft(role="user", content=content)


def _draft_part(part: chat.UserPart, param: str) -> TextPart | Source:
    match part:
        case chat.TextPart(text=text):
            return TextPart(text=text)
        case chat.ImageUrlPart(image_url=image):
            low = image.detail == "low"
            return Source(kind="image", text=image.url, param=f"{param}.image_url.url", low_detail=low)
        case chat.InputAudioPart(input_audio=sound):
            # DashScope's clients put URLs here; a colon is in no base64.
            return Source(
                kind="audio", text=sound.data, param=f"{param}.input_audio.data", plain=":" not in sound.data
            )
        case chat.AudioUrlPart(audio_url=sound_url):
            return Source(kind="audio", text=sound_url.url, param=f"{param}.audio_url.url")
        case chat.VideoUrlPart(video_url=video_url):
            return Source(kind="video", text=video_url.url, param=f"{param}.video_url.url")
        case _:
            assert_never(part)


def _draft_assistant(message: chat.AssistantMessage, param: str, earlier: EarlierReplies) -> _Draft:
    texts = [_said(part) for part in message.content or ()]
    if message.refusal:
        texts.append(message.refusal)
    if message.audio is not None and not any(texts):
        texts = [_recall(message.audio.id, param, earlier)]
    content = tuple(TextPart(text=text) for text in texts if text)
    if not content:
        raise _empty(param)
    return _Draft(role="assistant", content=content)


def _said(part: chat.TextPart | chat.RefusalPart) -> str:
    return part.refusal if isinstance(part, chat.RefusalPart) else part.text


def _recall(audio_id: str, param: str, earlier: EarlierReplies) -> str:
    said = earlier(audio_id)
    if said is None:
        raise RequestError(
            "This spoken reply is not known here, or no longer. Send what it said in place of its id: "
            '{"role": "assistant", "content": "<the reply\'s audio.transcript>"}.',
            code="audio_not_found",
            param=f"{param}.audio.id",
        )
    return said


def _empty(param: str) -> RequestError:
    return RequestError("The message has no content.", code="invalid_value", param=f"{param}.content")
