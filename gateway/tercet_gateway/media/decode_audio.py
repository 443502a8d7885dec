"""A sound file, or a video's sound -> float32 mono at 16 kHz, as the thinker takes it.

Called by `reader` in a worker thread. What a header claims about length is never used: samples are counted
as they come, so that a lie neither allocates nor waits.
"""

from collections.abc import Iterator
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray
from tercet_wire.names import INPUT_SAMPLE_RATE_HZ

from tercet_gateway.media.containers import iter_frames, open_container
from tercet_gateway.media.refusals import MediaError, too_large
from tercet_gateway.media.workers import Watch

_RATES_HZ: Final = range(4_000, 192_001)
_MAX_CHANNELS: Final = 8
_COVER_PIXELS: Final = 2**24
"""Sound files carry covers; no one looks at them, but FFmpeg opens their decoder."""


def decode_sound(data: bytes, max_s: float, watch: Watch) -> bytes:
    with open_container(data, "invalid_audio", _COVER_PIXELS) as container:
        if not container.streams.audio:
            raise MediaError("The file holds no sound.", "invalid_audio")
        return _join(_iter_samples(container, container.streams.audio[0], watch), max_s)


def _join(pieces: Iterator[NDArray[np.float32]], max_s: float) -> bytes:
    sound = bytearray()
    for piece in pieces:
        sound += piece.tobytes()
        if len(sound) > max_s * INPUT_SAMPLE_RATE_HZ * 4:
            raise too_large(f"The sound may be at most {max_s:g} seconds long.")
    return bytes(sound)


def _iter_samples(container: Any, stream: Any, watch: Watch) -> Iterator[NDArray[np.float32]]:
    # Without the bound, FFmpeg mixes down to float louder than the mean of the channels, beyond [-1, 1].
    resampler = av.AudioResampler(
        format="flt", layout="mono", rate=INPUT_SAMPLE_RATE_HZ, options={"rematrix_maxval": "1.0"}
    )
    for frame in iter_frames(container, stream, watch):
        _check_signal(frame)
        yield from _arrays(resampler.resample(frame))
    yield from _arrays(resampler.resample(None))


def _check_signal(frame: Any) -> None:
    if frame.sample_rate not in _RATES_HZ or frame.layout.nb_channels > _MAX_CHANNELS:
        raise MediaError(
            f"The sound must have {_RATES_HZ[0]} to {_RATES_HZ[-1]} Hz and at most {_MAX_CHANNELS} channels.",
            "invalid_audio",
        )


def _arrays(frames: list[Any]) -> Iterator[NDArray[np.float32]]:
    for frame in frames:
        samples: NDArray[np.float32] = frame.to_ndarray().reshape(-1)
        # A float file may hold anything; the thinker's features must not.
        yield np.nan_to_num(samples, copy=False, nan=0.0, posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)
