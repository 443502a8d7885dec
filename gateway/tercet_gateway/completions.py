"""A finished reply in the words of the OpenAI API, and the parts that the streamed form shares with it.

Called by the two shells, `whole` and `frames`. Pure.
"""

import binascii
from dataclasses import dataclass

import orjson
from tercet_wire.messages import TokenLogprob, TopLogprob, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What every chunk of a reply repeats. `audio_id` None: a reply of text."""

    id: str
    model: str
    created: int
    audio_id: str | None = None
    expires_at: int = 0


def render_usage(usage: Usage) -> dict[str, object]:
    """Codes are completion tokens; a video's frames are image tokens, as the API has no other word."""
    image_tokens = usage.prompt_image_tokens + usage.prompt_video_tokens
    completion_tokens = usage.completion_tokens + usage.codes
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": usage.prompt_tokens + completion_tokens,
        "prompt_tokens_details": {
            "audio_tokens": usage.prompt_audio_tokens,
            "cached_tokens": usage.prompt_cached_tokens,
            "image_tokens": image_tokens,
            "text_tokens": usage.prompt_tokens - usage.prompt_audio_tokens - image_tokens,
        },
        "completion_tokens_details": {
            "audio_tokens": usage.codes,
            "reasoning_tokens": 0,
            "text_tokens": usage.completion_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def render_logprobs(logprobs: tuple[TokenLogprob, ...]) -> dict[str, object]:
    content = [
        {**_logprob(token), "top_logprobs": [_logprob(other) for other in token.top]} for token in logprobs
    ]
    return {"content": content, "refusal": None}


def _logprob(token: TopLogprob) -> dict[str, object]:
    return {"token": token.token, "logprob": token.logprob, "bytes": list(token.bytes)}


def render_completion(
    completion: Completion,
    *,
    text: str,
    audio: bytes | None,
    logprobs: tuple[TokenLogprob, ...],
    finish_reason: str,
    usage: Usage,
) -> bytes:
    """The whole body. `audio` is the encoded sound of a spoken reply."""
    message: dict[str, object] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if audio is not None:
        message["content"] = None
        message["audio"] = {
            "id": completion.audio_id,
            "data": binascii.b2a_base64(audio, newline=False).decode(),
            "expires_at": completion.expires_at,
            "transcript": text,
        }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": render_logprobs(logprobs) if logprobs else None,
        "finish_reason": finish_reason,
    }
    return orjson.dumps(
        {
            "id": completion.id,
            "object": "chat.completion",
            "created": completion.created,
            "model": completion.model,
            "choices": [choice],
            "usage": render_usage(usage),
        }
    )
