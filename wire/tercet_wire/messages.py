"""What gateway and stages say to each other, as JSON documents inside tensors.

Written by the gateway (Turn) and by the stages (StageEvent, StageFailure); bulk data (pictures, sound,
states, codes) travels beside them as tensors, see `names.Tensor`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tercet_wire.settings import WindowSettings


class Message(BaseModel):
    """Frozen, and strict about unknown fields: both ends come from one release."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- the turn, gateway -> stages ---------------------------------------------------------------


class TextPart(Message):
    type: Literal["text"] = "text"
    text: str


class ImagePart(Message):
    """The next `height * width * 3` bytes of PIXELS."""

    type: Literal["image"] = "image"
    height: int
    width: int


class AudioPart(Message):
    """The next `samples` values of SAMPLES."""

    type: Literal["audio"] = "audio"
    samples: int


class VideoPart(Message):
    """The next `frames * height * width * 3` bytes of PIXELS, sampled at `fps`.

    `samples` > 0: the video's sound, the next values of SAMPLES; it is interleaved with the frames.
    """

    type: Literal["video"] = "video"
    frames: int
    height: int
    width: int
    fps: float
    samples: int = 0


Part = Annotated[TextPart | ImagePart | AudioPart | VideoPart, Field(discriminator="type")]


class ChatMessage(Message):
    role: Literal["system", "user", "assistant"]
    content: tuple[Part, ...]


class Sampling(Message):
    """How tokens are chosen. None: the checkpoint's generation_config, then OpenAI's default."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    logit_bias: dict[int, float] = Field(default_factory=dict)
    top_logprobs: int | None = None
    """None: no log-probabilities. 0: of the chosen token only."""


class Speech(Message):
    """What the listener asked for. None in place of it: a turn of text only.

    `sampling` is the talker's (default: the reference's 0.9 / 40 / 0.8 / 1.05); `noise_seed` fixes
    the noise that code2wav starts from; `window` overrides the deployment's settings for one turn.
    """

    voice: str
    sampling: Sampling = Sampling()
    noise_seed: int = 0
    window: WindowSettings | None = None


class Turn(Message):
    """One request. The thinker gets all of it; talker and code2wav get it without `messages`."""

    messages: tuple[ChatMessage, ...] = ()
    sampling: Sampling = Sampling()
    speech: Speech | None = None
    due_s: float = 0.15
    """Deadline of the first sound, in seconds after the request's arrival at the stage."""


# --- events, stages -> gateway -----------------------------------------------------------------


class Usage(Message):
    """Token counts. `prompt_tokens` includes the media tokens, which are listed beside it."""

    prompt_tokens: int = 0
    prompt_cached_tokens: int = 0
    """Of them: those that an earlier turn's prompt began with, and that were not computed again."""
    prompt_audio_tokens: int = 0
    prompt_image_tokens: int = 0
    prompt_video_tokens: int = 0
    completion_tokens: int = 0
    codes: int = 0


class TopLogprob(Message):
    token: str
    bytes: tuple[int, ...]
    logprob: float


class TokenLogprob(TopLogprob):
    top: tuple[TopLogprob, ...] = ()


class Load(Message):
    """How busy the replica is, on every message, so that gateways agree without talking."""

    turns: int = 0
    waiting: int = 0
    kv_used: float = 0.0
    """Share of KV blocks in use, 0 to 1."""
    lateness_s: float = 0.0
    """How far behind its deadline the latest audio stream is; 0 when all are in time."""


class StageEvent(Message):
    """Beside each message of a stage. `finish_reason` and `usage` stand in the last one only."""

    finish_reason: Literal["stop", "length"] | None = None
    usage: Usage | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    load: Load = Load()
    elapsed_s: float = 0.0
    """How long the stage has had the turn."""


FailureType = Literal[
    "invalid_request",
    "context_length_exceeded",
    "overloaded",
    "cancelled",
    "internal",
]


class StageFailure(Message):
    """Why a turn ended early; the text of the TritonError, so that its type survives the wire.

    `param` names the request's field at fault, in the gateway's words (`messages`, `audio.voice`).
    """

    type: FailureType
    message: str
    param: str | None = None
