"""A streamed chat completion, from the lines of its event stream to what they say.

Shared by `chat` and `bench`. Without I/O: feed it lines, get deltas. It reads OpenAI's shape
(`delta.content`, `delta.audio.transcript`, `delta.audio.data`, `usage`, `error`) and skips what it does not
know, so it works against any server that speaks it; sound that a server puts elsewhere counts as no sound.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tercet_cli.errors import CommandError


class ReplyError(CommandError):
    """The server refused the request or broke the reply off; the text is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundDelta:
    """PCM: 16-bit, mono, 24 kHz."""

    pcm: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Why the text ended: `stop` or `length`."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Tokens of text, and codes of speech, as the server counted them."""

    text_tokens: int
    codes: int


Delta = TextDelta | SoundDelta | Finished | Counted


def iter_deltas(line: str) -> Iterator[Delta]:
    """Read one line of the stream; comments, blank lines and `[DONE]` say nothing."""
    if not line.startswith("data:"):
        return
    payload = line.removeprefix("data:").strip()
    if payload in {"", "[DONE]"}:
        return
    try:
        chunk = json.loads(payload)
    except ValueError as error:
        raise ReplyError(f"the server sent an event that is not JSON: {payload[:80]!r}") from error
    if isinstance(chunk, dict):
        yield from _iter_chunk(chunk)


def error_text(status: int, body: bytes) -> str:
    """One line for a refused request, from OpenAI's error envelope where there is one."""
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = body[:200].decode("utf-8", "replace") or "no reason given"
    return f"the server answered {status}: {' '.join(str(message).split())}"


def _iter_chunk(chunk: dict[str, Any]) -> Iterator[Delta]:  # Any: foreign JSON, read with care below
    if error := chunk.get("error"):
        message = error.get("message") if isinstance(error, dict) else error
        raise ReplyError(f"the server broke the reply off: {message}")
    for choice in chunk.get("choices") or ():
        yield from _iter_choice(choice)
    if usage := chunk.get("usage"):
        yield _count(usage)


def _iter_choice(choice: dict[str, Any]) -> Iterator[Delta]:
    delta = choice.get("delta") or {}
    audio = delta.get("audio") or {}
    # A server may mirror the transcript into the content; it is said once.
    if text := audio.get("transcript") or delta.get("content"):
        yield TextDelta(text=text)
    if data := audio.get("data"):
        yield SoundDelta(pcm=_decode(data))
    if reason := choice.get("finish_reason"):
        yield Finished(reason=reason)


def _decode(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ReplyError("the server sent sound that is not base64") from error


def _count(usage: dict[str, Any]) -> Counted:
    details = usage.get("completion_tokens_details") or {}
    codes = details.get("audio_tokens") or 0
    text_tokens = details.get("text_tokens")
    if text_tokens is None:
        text_tokens = (usage.get("completion_tokens") or 0) - codes
    return Counted(text_tokens=text_tokens, codes=codes)
