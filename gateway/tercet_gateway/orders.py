"""What a request asks of the model, checked as a whole and put into the words of the stages.

The chat route builds an Order from a parsed request and the model that it names. Pure; the messages are
`conversation`'s part.
"""

from dataclasses import dataclass
from typing import get_args

from tercet_wire.messages import Sampling, Speech

from tercet_gateway.errors import RequestError
from tercet_gateway.models import Model
from tercet_gateway.schemas.chat import AudioFormat, AudioOptions, ChatRequest, StreamFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """`speech` and `format` are both there or both None."""

    sampling: Sampling
    speech: Speech | None
    format: AudioFormat | None
    stream: bool
    include_usage: bool


def build_order(request: ChatRequest, model: Model, *, drawn_seed: int) -> Order:
    """`drawn_seed` is the turn's where the caller gives none, so that any stage of it can be done again."""
    _check_stream_options(request)
    _check_audio(request)
    audio = request.audio
    seed = drawn_seed if request.seed is None else request.seed
    return Order(
        sampling=_build_sampling(request, seed),
        speech=None if audio is None else _build_speech(request, audio, model, seed),
        format=None if audio is None else audio.format,
        stream=bool(request.stream),
        include_usage=request.stream_options is not None and bool(request.stream_options.include_usage),
    )


def _check_stream_options(request: ChatRequest) -> None:
    if request.stream_options is not None and not request.stream:
        raise RequestError(
            "'stream_options' is only allowed together with 'stream': true.",
            code="invalid_value",
            param="stream_options",
        )


def _check_audio(request: ChatRequest) -> None:
    if request.modalities is not None and not request.modalities:
        raise RequestError("'modalities' must not be empty.", code="invalid_value", param="modalities")
    spoken = "audio" in (request.modalities or ())
    if spoken and request.audio is None:
        raise RequestError(
            "'audio' is required when 'modalities' contains 'audio'.",
            code="missing_required_parameter",
            param="audio",
        )
    if request.audio is None:
        if request.speaker is not None:
            raise RequestError(
                "'speaker' is only allowed with 'audio'.", code="invalid_value", param="speaker"
            )
        return
    if not spoken:
        raise RequestError(
            "'audio' is only allowed when 'modalities' contains 'audio'.", code="invalid_value", param="audio"
        )
    if request.stream and request.audio.format not in get_args(StreamFormat):
        raise RequestError(
            f"'audio.format' {request.audio.format!r} cannot be streamed. Ask for 'pcm16' or 'wav' (both "
            "come as 24 kHz mono PCM without a header), or set 'stream' to false.",
            code="unsupported_value",
            param="audio.format",
        )


def _build_speech(request: ChatRequest, audio: AudioOptions, model: Model, seed: int) -> Speech:
    param = "audio.voice" if request.speaker is None else "speaker"
    named = [name for name in (audio.voice, request.speaker) if name is not None]
    if len(set(named)) > 1:
        raise RequestError("'audio.voice' and 'speaker' differ.", code="invalid_value", param=param)
    voice = named[0] if named else model.voice
    if voice not in model.voices:
        raise RequestError(
            f"The model '{model.id}' has no voice '{voice[:64]}'. Its voices are: {', '.join(model.voices)}.",
            code="unsupported_value",
            param=param,
        )
    return Speech(voice=voice, sampling=Sampling(seed=seed), noise_seed=seed)


def _build_sampling(request: ChatRequest, seed: int) -> Sampling:
    return Sampling(
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        repetition_penalty=request.repetition_penalty,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        seed=seed,
        stop=request.stop or (),
        max_tokens=_max_tokens(request),
        logit_bias=request.logit_bias or {},
        top_logprobs=_top_logprobs(request),
    )


def _max_tokens(request: ChatRequest) -> int | None:
    if request.max_tokens is None:
        return request.max_completion_tokens
    if request.max_completion_tokens is not None:
        raise RequestError(
            "'max_tokens' and 'max_completion_tokens' cannot both be set.",
            code="invalid_value",
            param="max_tokens",
        )
    return request.max_tokens


def _top_logprobs(request: ChatRequest) -> int | None:
    if request.top_logprobs is not None and not request.logprobs:
        raise RequestError(
            "'top_logprobs' is only allowed together with 'logprobs': true.",
            code="invalid_value",
            param="top_logprobs",
        )
    return request.top_logprobs or 0 if request.logprobs else None
