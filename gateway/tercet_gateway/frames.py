"""A chat completion as server-sent events, rendered from byte templates.

One Frames per streamed reply; `streaming` calls it in the order of the wire: opening, texts and sounds as
they come, sound_end, finish, usage, DONE. What a client's accumulator adds up is sent exactly once: the role,
the audio's id and its expiry. Pure: bytes out, no socket.
"""

import binascii
from typing import Final

import orjson
from tercet_wire.messages import TokenLogprob

from tercet_gateway.completions import Completion, render_logprobs

PING: Final = b": ping\n\n"
DONE: Final = b"data: [DONE]\n\n"
_GROUP_BYTES: Final = 6
"""3 samples are 8 characters of base64: no padding but in the last piece, so that pieces may be joined."""


class Frames:
    def __init__(self, completion: Completion, *, include_usage: bool) -> None:
        head = orjson.dumps(
            {
                "id": completion.id,
                "object": "chat.completion.chunk",
                "created": completion.created,
                "model": completion.model,
            }
        )
        usage_null = b',"usage":null' if include_usage else b""
        self._head = b"data: " + head[:-1]
        self._prefix = self._head + b',"choices":[{"index":0,"delta":'
        self._suffix = b',"logprobs":null,"finish_reason":null}]' + usage_null + b"}\n\n"
        self._usage_null = usage_null
        self._spoken = completion.audio_id is not None
        self._audio_id = b'"id":"%b",' % (completion.audio_id or "").encode()
        self._expires_at = completion.expires_at
        self._audio_open = False
        self._samples = b""

    def opening(self) -> bytes:
        return self._delta(b'{"role":"assistant","content":%b,"refusal":null}' % self._first_content())

    def text(self, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> bytes:
        """The reply's text, or in a spoken reply its transcript."""
        quoted = orjson.dumps(text)
        delta = self._audio(b'"transcript":' + quoted) if self._spoken else b'{"content":' + quoted + b"}"
        if not logprobs:
            return self._delta(delta)
        rendered = orjson.dumps(render_logprobs(logprobs))
        tail = b',"logprobs":' + rendered + b',"finish_reason":null}]' + self._usage_null + b"}\n\n"
        return self._prefix + delta + tail

    def sound(self, pcm: bytes) -> bytes:
        """Whole groups of samples; the rest waits for the next call. Nothing if there is no whole group."""
        samples = self._samples + pcm
        whole = len(samples) - len(samples) % _GROUP_BYTES
        self._samples = samples[whole:]
        return self._data(samples[:whole])

    def sound_end(self) -> bytes:
        """The last samples and the expiry; in a reply of text, nothing."""
        if not self._spoken:
            return b""
        rest, self._samples = self._samples, b""
        return self._data(rest) + self._delta(self._audio(b'"expires_at":%d' % self._expires_at))

    def finish(self, reason: str) -> bytes:
        tail = b'{},"logprobs":null,"finish_reason":"%b"}]%b}\n\n' % (reason.encode(), self._usage_null)
        return self._prefix + tail

    def usage(self, usage: dict[str, object]) -> bytes:
        return self._head + b',"choices":[],"usage":' + orjson.dumps(usage) + b"}\n\n"

    def error(self, body: bytes) -> bytes:
        return b"data: " + body + b"\n\n"

    def _delta(self, delta: bytes) -> bytes:
        return self._prefix + delta + self._suffix

    def _audio(self, fields: bytes) -> bytes:
        audio_id = b"" if self._audio_open else self._audio_id
        self._audio_open = True
        return b'{"audio":{' + audio_id + fields + b"}}"

    def _data(self, pcm: bytes) -> bytes:
        if not pcm:
            return b""
        return self._delta(self._audio(b'"data":"' + binascii.b2a_base64(pcm, newline=False) + b'"'))

    def _first_content(self) -> bytes:
        return b"null" if self._spoken else b'""'
