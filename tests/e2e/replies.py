"""Streamed replies, taken down as the official SDK hears them."""

import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from openai import AsyncOpenAI
from openai.lib.streaming._deltas import accumulate_delta
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk

SPOKEN: dict[str, Any] = {"modalities": ["text", "audio"], "audio": {"voice": "Chelsie", "format": "pcm16"}}
ENDS = (256, 258)
"""The demo's tokens that end a reply: <|endoftext|> and <|im_end|>."""
ENDLESS: dict[str, Any] = {"logit_bias": {str(token): -100 for token in ENDS}}
"""A reply that ends at `max_tokens` and not before."""
BYTES_PER_S = 2 * 24_000
BYTES_PER_CODE = 2 * 480


Counts = tuple[int, int, int | None]
"""Tokens of the prompt, of the reply, and codes."""


def count_tokens(usage: CompletionUsage | None) -> Counts:
    """What a request costs; how much of its prompt was known already depends on what came before it."""
    assert usage is not None
    assert usage.completion_tokens_details is not None
    return usage.prompt_tokens, usage.completion_tokens, usage.completion_tokens_details.audio_tokens


@dataclass
class Reply:
    """`order` has a T for each piece of text and an A for each piece of sound, as they came."""

    text: str = ""
    pieces: list[bytes] = field(default_factory=list)
    order: str = ""
    finish_reason: str | None = None
    usage: CompletionUsage | None = None
    message: dict[Any, Any] = field(default_factory=dict)
    """The deltas as the SDK adds them up."""

    @property
    def pcm(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def codes(self) -> int:
        return self.counts()[2] or 0

    def counts(self) -> Counts:
        return count_tokens(self.usage)

    def take(self, chunk: ChatCompletionChunk) -> None:
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            delta: dict[Any, Any] = choice.delta.model_dump(exclude_unset=True)
            audio = delta.get("audio") or {}
            self._take_text(delta.get("content") or audio.get("transcript"))
            self._take_sound(audio.get("data"))
            self.message = accumulate_delta(self.message, delta)

    def _take_text(self, text: str | None) -> None:
        if text:
            self.text += text
            self.order += "T"

    def _take_sound(self, data: str | None) -> None:
        if data:
            self.pieces.append(base64.b64decode(data, validate=True))
            self.order += "A"


def ask_about(*parts: dict[str, Any], text: str = "Hello.") -> dict[str, Any]:
    """The body of a request for a short reply to some media parts and a text; always the same reply."""
    content = [*parts, {"type": "text", "text": text}]
    return {
        "model": "demo",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 12,
        "seed": 5,
    }


async def stream(client: AsyncOpenAI, body: dict[str, Any]) -> AsyncIterator[ChatCompletionChunk]:
    """Left early, the request is given up."""
    chunks = await client.chat.completions.create(
        **{**body, "stream": True, "stream_options": {"include_usage": True}}
    )
    async with chunks:
        async for chunk in chunks:
            yield chunk


async def hear(
    client: AsyncOpenAI, body: dict[str, Any], *, until: Callable[[Reply], bool] = lambda _: False
) -> Reply:
    """The whole reply, or what there was of it when the listener left."""
    reply = Reply()
    chunks = stream(client, body)
    try:
        async for chunk in chunks:
            reply.take(chunk)
            if until(reply):
                break
    finally:
        await chunks.aclose()  # type: ignore[attr-defined]  # an async generator, for its callers an iterator
    return reply
