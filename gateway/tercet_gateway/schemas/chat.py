"""The request of POST /v1/chat/completions, field by field, as the `openai` SDK spells it.

Every field of the SDK stands here in one of three groups: honoured, accepted and ignored, or refused.
Anything else is an unknown field and refused by its name. `schemas.parsing` makes a ChatRequest from bytes;
`orders` checks the fields against each other and against the deployment.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

StreamFormat = Literal["pcm16", "wav"]
AudioFormat = Literal["wav", "mp3", "flac", "opus", "aac", "pcm16"]


class Document(BaseModel):
    """Frozen, of exact JSON types, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _refuse(value: object) -> None:
    if value is not None:
        raise PydanticCustomError("unsupported_parameter", "this server does not support it; leave it out")


def _ignore(_: object) -> None:
    """Drop the value, so that no code can come to depend on it."""


Refused = Annotated[None, BeforeValidator(_refuse)]
Ignored = Annotated[object, AfterValidator(_ignore)]


# --- content parts -----------------------------------------------------------------------------


class TextPart(Document):
    type: Literal["text"] = "text"
    text: str
    prompt_cache_breakpoint: Ignored = None


class ImageUrl(Document):
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImageUrlPart(Document):
    """`url`: http(s) or a base64 data URL."""

    type: Literal["image_url"] = "image_url"
    image_url: ImageUrl
    prompt_cache_breakpoint: Ignored = None


class InputAudio(Document):
    data: str
    format: Literal["wav", "mp3", "flac", "ogg", "opus", "aac", "m4a", "webm"]


class InputAudioPart(Document):
    """`data`: base64, or as DashScope's clients send it a data URL or an http(s) URL.

    `format` is a hint (OpenAI's knows wav and mp3 only): what the bytes are shows when they are decoded.
    """

    type: Literal["input_audio"] = "input_audio"
    input_audio: InputAudio
    prompt_cache_breakpoint: Ignored = None


class MediaUrl(Document):
    url: str


class AudioUrlPart(Document):
    """Not in OpenAI's API; vLLM, DashScope and Fireworks have it."""

    type: Literal["audio_url"] = "audio_url"
    audio_url: MediaUrl


class VideoUrlPart(Document):
    """Not in OpenAI's API; vLLM, DashScope and Fireworks have it."""

    type: Literal["video_url"] = "video_url"
    video_url: MediaUrl


class RefusalPart(Document):
    type: Literal["refusal"] = "refusal"
    refusal: str


def _parts(content: object) -> object:
    """Content given as one string means one text part."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


UserPart = Annotated[
    TextPart | ImageUrlPart | InputAudioPart | AudioUrlPart | VideoUrlPart, Field(discriminator="type")
]
AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
TextContent = Annotated[tuple[TextPart, ...], BeforeValidator(_parts), Field(strict=False)]
UserContent = Annotated[tuple[UserPart, ...], BeforeValidator(_parts), Field(strict=False, min_length=1)]
AssistantContent = Annotated[tuple[AssistantPart, ...], BeforeValidator(_parts), Field(strict=False)]


# --- messages ----------------------------------------------------------------------------------


class SystemMessage(Document):
    """`developer` is OpenAI's newer word for `system`."""

    role: Literal["system", "developer"]
    content: TextContent
    name: Ignored = None


class UserMessage(Document):
    role: Literal["user"]
    content: UserContent
    name: Ignored = None


class EarlierAudio(Document):
    """Names an earlier spoken reply; `transcripts` knows what it said.

    The rest comes along when a caller sends our own message back.
    """

    id: str
    data: Ignored = None
    expires_at: Ignored = None
    transcript: Ignored = None


class AssistantMessage(Document):
    role: Literal["assistant"]
    content: AssistantContent | None = None
    audio: EarlierAudio | None = None
    refusal: str | None = None
    name: Ignored = None
    annotations: Ignored = None
    tool_calls: Refused = None
    function_call: Refused = None


Message = Annotated[SystemMessage | UserMessage | AssistantMessage, Field(discriminator="role")]


# --- the request -------------------------------------------------------------------------------


def _voice_name(voice: object) -> object:
    """`{"id": name}` is the SDK's other spelling of a voice."""
    return voice["id"] if isinstance(voice, dict) and voice.keys() == {"id"} else voice


class AudioOptions(Document):
    """Without a `voice`, which OpenAI's API insists on, the deployment's own speaks."""

    voice: Annotated[str | None, BeforeValidator(_voice_name)] = None
    format: AudioFormat


def _no_obfuscation(value: bool | None) -> bool | None:
    if value:
        raise PydanticCustomError("unsupported_value", "this server does not obfuscate streams; send false")
    return value


class StreamOptions(Document):
    include_usage: bool | None = None
    include_obfuscation: Annotated[bool | None, AfterValidator(_no_obfuscation)] = None


class ResponseFormat(Document):
    """Plain text; the JSON formats are refused."""

    type: Literal["text"]


def _one_choice(value: int | None) -> int | None:
    if value not in {None, 1}:
        raise PydanticCustomError("unsupported_value", "this server makes one choice a request; n must be 1")
    return value


def _stop_texts(stop: object) -> object:
    return [stop] if isinstance(stop, str) else stop


class ProcessorOptions(Document):
    """vLLM's spelling of `use_audio_in_video`."""

    use_audio_in_video: bool | None = None


StopText = Annotated[str, Field(min_length=1)]
"""An empty one would end every reply before it begins."""
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class ChatRequest(Document):
    # honoured
    model: str
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    modalities: tuple[Literal["text", "audio"], ...] | None = None
    audio: AudioOptions | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: (
        dict[Annotated[int, Field(strict=False, ge=0)], Annotated[float, Field(ge=-100, le=100)]] | None
    ) = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    seed: Int64 | None = None
    stop: (
        Annotated[tuple[StopText, ...], BeforeValidator(_stop_texts), Field(strict=False, max_length=4)]
        | None
    ) = None
    n: Annotated[int | None, AfterValidator(_one_choice)] = None
    response_format: ResponseFormat | None = None
    # not in OpenAI's API, but in that of other servers of this model
    top_k: Annotated[int, Field(ge=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=2)] | None = None
    speaker: str | None = None
    """The same as `audio.voice`."""
    use_audio_in_video: bool | None = None
    """Left out: a video's sound is heard if it has one. True: it must have one. False: frames only."""
    mm_processor_kwargs: ProcessorOptions | None = None

    # accepted and ignored: none of them changes what the reply says
    user: Ignored = None
    safety_identifier: Ignored = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    parallel_tool_calls: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None

    # refused: we cannot do what they ask for
    tools: Refused = None
    tool_choice: Refused = None
    functions: Refused = None
    function_call: Refused = None
    prediction: Refused = None
    moderation: Refused = None
    reasoning_effort: Refused = None
    verbosity: Refused = None
    web_search_options: Refused = None
