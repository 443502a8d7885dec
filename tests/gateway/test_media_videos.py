"""Video: which moments are kept, at what size, and what is refused."""

import threading

import numpy as np
import pytest
from tercet_gateway.media.decode_video import Video, VideoBounds, decode_video, fit_frame, plan_frames
from tercet_gateway.media.refusals import MediaError
from tercet_gateway.media.workers import Watch

from tests.gateway import media_samples as samples

PATCH_PIXELS = 28 * 28


def _bounds(
    *,
    max_pixels: int = 4_000_000,
    max_s: float = 600.0,
    max_frames: int = 768,
    kept_pixels: int = 50_000_000,
) -> VideoBounds:
    return VideoBounds(max_pixels=max_pixels, max_s=max_s, max_frames=max_frames, kept_pixels=kept_pixels)


def _decode(data: bytes, bounds: VideoBounds | None = None) -> Video:
    return decode_video(data, bounds or _bounds(), Watch(30, threading.Event()))


def _levels(video: Video) -> list[int]:
    return [round(float(np.frombuffer(frame, np.uint8).mean())) for frame in video.pixels]


@pytest.mark.parametrize(
    ("shown_fps", "count", "max_frames", "kept"),
    [
        (30.0, 300, 768, 20),
        (30.0, 309, 768, 20),
        (24.0, 24, 768, 4),
        (10.0, 3, 768, 2),
        (10.0, 1, 768, 2),
        (1.0, 10, 768, 10),
        (30.0, 30 * 60, 100, 100),
        (30.0, 30 * 60, 33, 32),
    ],
)
def test_two_frames_a_second_and_an_even_number(
    shown_fps: float, count: int, max_frames: int, kept: int
) -> None:
    """At least four where the video has them, at most the limit."""
    plan = plan_frames([index / shown_fps for index in range(count)], _bounds(max_frames=max_frames))
    assert len(plan.times_s) == kept
    assert plan.fps * plan.seconds == pytest.approx(kept)


def test_frames_are_evenly_spaced_over_the_whole_video() -> None:
    """Ten seconds: 0.0, 0.5 ... 9.5, each half a frame late."""
    plan = plan_frames([5 + index / 10 for index in range(100)], _bounds())
    assert plan.fps == pytest.approx(2.0)
    assert np.allclose(plan.times_s, 5.05 + np.arange(20) / 2)


@pytest.mark.parametrize(
    ("source", "most", "expected"),
    [
        ((720, 1280), 1e9, (560, 1008)),
        ((1280, 720), 1e9, (1008, 560)),
        ((240, 320), 1e9, (240, 320)),
        ((720, 1280), 200_000, (308, 588)),
        ((720, 1280), 10, (224, 420)),
        ((4000, 30), 1e9, (4000, 30)),
    ],
)
def test_frames_keep_their_shape_in_whole_patches(
    source: tuple[int, int], most: float, expected: tuple[int, int]
) -> None:
    """Never above what the processor looks at, never below its least, never scaled up."""
    height, width = fit_frame(*source, most)
    assert (height, width) == expected
    assert height * width <= max(768 * PATCH_PIXELS, source[0] * source[1])


def test_frames_of_one_moment_are_refused() -> None:
    """A clock that stands still gives no rate."""
    with pytest.raises(MediaError, match="one moment"):
        plan_frames([1.0, 1.0, 1.0], _bounds())


def test_a_strip_is_refused() -> None:
    """The processor takes no sides beyond 200 to 1."""
    with pytest.raises(MediaError, match="200 times"):
        fit_frame(2010, 10, 1e9)


@pytest.mark.parametrize(
    ("container", "codecs"),
    [("mp4", ("libx264", "aac")), ("webm", ("libvpx", "libopus")), ("avi", ("mpeg4", "libmp3lame"))],
)
def test_every_container_gives_frames_in_order(container: str, codecs: tuple[str, str]) -> None:
    """Three seconds at 10 FPS from black to white: six frames, each at its moment."""
    video = _decode(samples.video(3.0, container=container, codecs=codecs, sound_s=1.0))
    assert (video.frames, video.height, video.width) == (6, 48, 64)
    assert video.fps == pytest.approx(2.0, rel=0.05)
    assert video.seconds == pytest.approx(3.0, rel=0.05)
    assert video.has_sound
    expected = [255 * frame / 29 for frame in (0, 5, 10, 15, 20, 25)]
    assert np.allclose(_levels(video), expected, atol=16)  # AVI's first frame lasts two


def test_a_frozen_picture_stays_on_screen() -> None:
    """Where the file shows one frame for long, that frame is kept again, not the one after it."""
    video = _decode(samples.video(1.0, freeze_s=4.0))
    assert np.allclose(_levels(video), [255 * frame / 9 for frame in (0, *[4] * 8, 5)], atol=10)


def test_a_single_picture_is_kept_twice() -> None:
    """The vision encoder takes frames in pairs."""
    video = _decode(samples.video(0.1))
    assert video.frames == 2
    assert video.pixels[0] == video.pixels[1]


def test_a_video_is_turned_upright() -> None:
    """A phone's matrix: the left side is the top, and the sides change places."""
    video = _decode(samples.turned_clockwise(samples.video(left_black=True)))
    assert (video.height, video.width) == (64, 48)
    frame = np.frombuffer(video.pixels[-1], np.uint8).reshape(64, 48, 3)
    assert frame[:28].max() < 40
    assert frame[36:].min() > 150


def test_large_frames_are_scaled_to_the_budget() -> None:
    """All frames together stay within the kept pixels."""
    video = _decode(samples.video(2.0, size=(1280, 720), fps=4), _bounds(kept_pixels=4 * 400_000))
    assert video.frames * video.height * video.width <= 4 * 400_000
    assert video.height % 28 == video.width % 28 == 0
    assert len(video.pixels[0]) == video.height * video.width * 3


def test_a_video_without_sound_says_so() -> None:
    """Only the file knows; the reader asks."""
    assert not _decode(samples.video()).has_sound


def test_a_long_video_is_refused() -> None:
    """Seconds are those of the frames, not of the header."""
    with pytest.raises(MediaError, match="at most 1 seconds") as caught:
        _decode(samples.video(2.0), _bounds(max_s=1.0))
    assert caught.value.code == "content_too_large"


def test_large_frames_are_refused_before_they_are_decoded() -> None:
    """The bound on a frame's pixels is the decoder's own."""
    with pytest.raises(MediaError) as caught:
        _decode(samples.video(size=(640, 480)), _bounds(max_pixels=100_000))
    assert caught.value.code == "invalid_video"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("nothing", b""),
        ("text", b"no video"),
        ("a sound", samples.wav(samples.tone(0.5, 16_000), 16_000)),
        ("an MP4 without its index", samples.video()[:500]),
        ("a picture", samples.picture("GIF")),
        ("frames overwritten with zeros", samples.video()[:60] + bytes(900) + samples.video()[960:]),
    ],
)
def test_what_is_no_video_is_refused(name: str, data: bytes) -> None:
    """One code for everything that cannot be seen."""
    with pytest.raises(MediaError) as caught:
        _decode(data)
    assert caught.value.code == "invalid_video", name
