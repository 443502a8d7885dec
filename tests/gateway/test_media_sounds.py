"""Sound: any file to mono at 16 kHz, and headers that lie."""

import threading
from typing import Any

import av
import numpy as np
import pytest
from tercet_gateway.media.containers import iter_frames, open_container
from tercet_gateway.media.decode_audio import decode_sound
from tercet_gateway.media.encode import encode_audio
from tercet_gateway.media.refusals import MediaError
from tercet_gateway.media.workers import Watch

from tests.gateway import media_samples as samples


def _decode(data: bytes, *, max_s: float = 60.0, limit_s: float = 30.0) -> samples.Array:
    return np.frombuffer(decode_sound(data, max_s, Watch(limit_s, threading.Event())), "<f4")


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_every_rate_becomes_16_khz(rate_hz: int) -> None:
    """Length, level and pitch stay."""
    sound = _decode(samples.wav(samples.tone(1.0, rate_hz), rate_hz))
    assert len(sound) == pytest.approx(16_000, abs=40)
    assert float(np.sqrt(np.square(sound).mean())) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    assert int(np.abs(np.fft.rfft(sound[:16_000], 16_000)).argmax()) == pytest.approx(440, abs=1)


def test_channels_are_averaged() -> None:
    """Stereo becomes the mean of both sides: not louder, so never beyond full scale."""
    left, right = samples.tone(0.5, 16_000, level=0.9), samples.tone(0.5, 16_000, level=0.3)
    sound = _decode(samples.wav(np.stack([left, right]), 16_000))
    assert np.allclose(sound[500:-500], ((left + right) / 2)[500:-500], atol=2e-3)


def test_16_khz_mono_passes_sample_for_sample() -> None:
    """What already fits is not filtered."""
    tone = samples.tone(0.5, 16_000)
    assert np.allclose(_decode(samples.wav(tone, 16_000)), tone, atol=1e-4)


@pytest.mark.parametrize("format", ["mp3", "flac", "opus", "aac"])
async def test_every_format_is_heard(format: str) -> None:  # noqa: A002
    """What we encode we can also take in."""
    pcm = (samples.tone(1.0, 24_000) * 32767).astype("<i2").tobytes()
    sound = _decode(await encode_audio(pcm, format))
    assert len(sound) / 16_000 == pytest.approx(1.0, abs=0.12)
    assert float(np.square(sound).mean()) == pytest.approx(0.125, rel=0.15)


def test_a_header_of_three_hours_on_ten_bytes_is_five_samples() -> None:
    """Nothing is allocated or waited for on the word of a header."""
    liar = samples.wav(np.zeros(5, np.float32), 16_000, claimed_bytes=3 * 3600 * 16_000 * 2)
    assert len(_decode(liar)) == 5


def test_seconds_are_counted_while_decoding() -> None:
    """A file that is longer than it may be is refused, whatever its header says."""
    data = samples.wav(samples.tone(2.0, 8_000), 8_000, claimed_bytes=16_000)
    with pytest.raises(MediaError, match=r"at most 0\.5 seconds") as caught:
        _decode(data, max_s=0.5)
    assert caught.value.code == "content_too_large"


async def test_a_cut_file_is_heard_as_far_as_it_goes() -> None:
    """Half an MP3 is half the sound, as in any player."""
    pcm = (samples.tone(2.0, 24_000) * 32767).astype("<i2").tobytes()
    whole = await encode_audio(pcm, "mp3")
    assert 0.7 < len(_decode(whole[: len(whole) // 2])) / 16_000 < 1.3


def test_time_for_decoding_is_bounded() -> None:
    """A watch that has run out ends the work with a refusal."""
    with pytest.raises(MediaError, match="too long to decode"):
        _decode(samples.wav(samples.tone(1.0, 16_000), 16_000), limit_s=-1.0)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("nothing", b""),
        ("text", b"no sound at all"),
        ("a picture", samples.picture("JPEG")),
        ("a video without sound", samples.video()),
        ("half a header", samples.wav(samples.tone(0.1, 16_000), 16_000)[:20]),
        ("an MP4 without its index", samples.video(sound_s=1.0)[:600]),
        ("a rate that no microphone has", samples.wav(samples.tone(1.0, 100), 100)),
        ("noise", np.random.default_rng(1).bytes(20_000)),
    ],
)
def test_what_is_no_sound_is_refused(name: str, data: bytes) -> None:
    """One code for everything that cannot be heard."""
    with pytest.raises(MediaError) as caught:
        _decode(data)
    assert caught.value.code == "invalid_audio", name


PLAYLISTS = [
    ("HLS", b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"),
    ("concat", b"ffconcat version 1.0\nfile '/etc/hostname'\n"),
    (
        "SDP",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n",
    ),
]


@pytest.mark.parametrize(("name", "data"), PLAYLISTS)
def test_files_that_name_other_files_are_refused(name: str, data: bytes) -> None:
    """Playlists and session descriptions are no media."""
    with pytest.raises(MediaError) as caught:
        _decode(data)
    assert caught.value.code == "invalid_audio", name


@pytest.mark.parametrize(("option", "value"), [("max_pixels", "1000"), ("codec_whitelist", "aac")])
def test_the_decoders_bounds_reach_the_decoder(option: str, value: str) -> None:
    """FFmpeg refuses a frame or a codec beyond its options once the decoder opens."""
    with (
        pytest.raises(MediaError) as caught,
        open_container(samples.video(), "invalid_video", 4_000_000) as container,
    ):
        _count_frames(container, {option: value})
    assert caught.value.code == "invalid_video"


def _count_frames(container: Any, options: dict[str, str]) -> int:
    container.options.update(options)
    watch = Watch(30, threading.Event())
    return sum(1 for _ in iter_frames(container, container.streams.video[0], watch))


def test_no_message_comes_from_ffmpeg() -> None:
    """The caller reads our sentence; what the library said is only the cause."""
    with pytest.raises(MediaError) as caught:
        _decode(b"nonsense")
    assert isinstance(caught.value.__cause__, av.FFmpegError)
    assert "Send WAV" in caught.value.message
