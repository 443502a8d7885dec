"""Encoding the reply's PCM into the formats that callers may ask for."""

import io

import av
import numpy as np
import pytest
from tercet_gateway.media.encode import encode_audio

from tests.gateway import media_samples as samples


def _decode(data: bytes) -> tuple[str, int, samples.Array]:
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=24_000)
        frames = [piece for frame in container.decode(stream) for piece in resampler.resample(frame)]
        frames += resampler.resample(None)
        rate_hz = stream.rate
        return (
            container.format.name,
            rate_hz,
            np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]),
        )


@pytest.mark.parametrize(
    ("format", "container"),
    [("wav", "wav"), ("mp3", "mp3"), ("flac", "flac"), ("opus", "ogg"), ("aac", "aac")],
)
async def test_what_was_encoded_sounds_the_same_when_decoded(format: str, container: str) -> None:  # noqa: A002
    """Every format keeps the length to 0.1 s and the energy to 10 %."""
    sound = samples.tone(2.0, 24_000)
    pcm = (sound * 32767).astype("<i2").tobytes()
    name, _, decoded = _decode(await encode_audio(pcm, format))
    assert name == container
    assert len(decoded) / 24_000 == pytest.approx(2.0, abs=0.1)
    assert float(np.square(decoded).sum()) == pytest.approx(float(np.square(sound).sum()), rel=0.1)


@pytest.mark.parametrize("format", ["wav", "flac"])
async def test_lossless_formats_keep_every_sample(format: str) -> None:  # noqa: A002
    """WAV and FLAC decode to the very PCM that went in, at 24 kHz."""
    pcm = (samples.tone(0.7, 24_000) * 32767).astype("<i2")
    _, rate_hz, decoded = _decode(await encode_audio(pcm.tobytes(), format))
    assert rate_hz == 24_000
    assert np.array_equal(np.round(decoded * 32768).astype(np.int16), pcm)


async def test_pcm16_is_the_pcm_itself() -> None:
    """No header, no copy of other bytes."""
    assert await encode_audio(b"\x01\x02\x03\x04", "pcm16") == b"\x01\x02\x03\x04"


@pytest.mark.parametrize(("format", "magic"), [("wav", b"RIFF"), ("flac", b"fLaC"), ("opus", b"OggS")])
async def test_a_reply_without_sound_is_still_a_file(format: str, magic: bytes) -> None:  # noqa: A002
    """No PCM gives a file with a header and no sound in it."""
    assert (await encode_audio(b"", format)).startswith(magic)
