"""The reply's PCM -> the sound file that the caller asked for.

Called by the routes once a reply is whole; streams carry PCM and never come here. The sample rate stays
24 kHz in every format.
"""

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import av
import numpy as np
from tercet_wire.names import SAMPLE_RATE_HZ

_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="encode")
"""Threads start with the first use. Waiting encodes are bounded by the turns in flight."""
_PIECE_SAMPLES: Final = SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coding:
    container: str
    codec: str
    bit_rate: int | None = None


_CODINGS: Final = {
    "wav": _Coding(container="wav", codec="pcm_s16le"),
    "mp3": _Coding(container="mp3", codec="libmp3lame", bit_rate=64_000),
    "flac": _Coding(container="flac", codec="flac"),
    "opus": _Coding(container="ogg", codec="libopus", bit_rate=48_000),
    "aac": _Coding(container="adts", codec="aac", bit_rate=64_000),
}


async def encode_audio(pcm: bytes, format: str) -> bytes:  # noqa: A002 - the API's word
    """`pcm`: 16-bit little-endian mono at 24 kHz. `format`: a key of `_CODINGS`, or pcm16, which is `pcm`."""
    if format == "pcm16":
        return pcm
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _encode, pcm, _CODINGS[format])


def _encode(pcm: bytes, coding: _Coding) -> bytes:
    samples = np.frombuffer(pcm, "<i2")
    file = io.BytesIO()
    with av.open(file, mode="w", format=coding.container) as container:
        stream = container.add_stream(coding.codec, rate=SAMPLE_RATE_HZ, layout="mono")
        if coding.bit_rate is not None:
            stream.bit_rate = coding.bit_rate
        container.start_encoding()  # writes the header, also where no sound follows
        for start in range(0, len(samples), _PIECE_SAMPLES):
            piece = samples[start : start + _PIECE_SAMPLES].reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE_HZ
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
