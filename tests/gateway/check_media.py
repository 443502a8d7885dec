"""Decodes every kind of media that the gateway takes, and encodes every kind of sound that it gives.

Run by the image's own Python while the gateway image is built, hence no test of pytest's: packages are made
smaller there, and only callers would miss a codec that went with the rest.
"""

import asyncio
import threading
from typing import Final

import numpy as np
from tercet_gateway.media.decode_audio import decode_sound
from tercet_gateway.media.decode_image import decode_picture
from tercet_gateway.media.decode_video import VideoBounds, decode_video
from tercet_gateway.media.encode import encode_audio
from tercet_gateway.media.workers import Watch

from tests.gateway import media_samples as samples

PICTURES: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
SOUNDS: Final = ("wav", "mp3", "flac", "opus", "aac")
VIDEOS: Final = (
    ("mp4", "libx264", "aac"),
    ("mp4", "libx265", "aac"),
    ("mp4", "libsvtav1", "libopus"),
    ("mov", "libx264", "pcm_s16le"),
    ("webm", "libvpx", "libopus"),
    ("webm", "libvpx-vp9", "libopus"),
    ("matroska", "libx264", "flac"),
    ("avi", "mpeg4", "libmp3lame"),
)
QUIET: Final = {"x265-params": "log-level=none"}
BOUNDS: Final = VideoBounds(max_pixels=1_000_000, max_s=10, max_frames=8, kept_pixels=1_000_000)


def main() -> None:
    for format_ in PICTURES:
        picture = decode_picture(samples.picture(format_), max_pixels=1_000_000, kept_pixels=1_000_000)
        assert (picture.height, picture.width) == (30, 40), format_
    pcm = (samples.tone(1.0, 24_000) * 32767).astype("<i2").tobytes()
    for format_ in SOUNDS:
        assert_heard(asyncio.run(encode_audio(pcm, format_)), format_)
    for container, *codecs in VIDEOS:
        file = samples.video(sound_s=1.0, container=container, codecs=(codecs[0], codecs[1]), options=QUIET)
        video = decode_video(file, BOUNDS, build_watch())
        assert (video.frames, video.height, video.width) == (4, 48, 64), (container, codecs)
        assert_heard(file, (container, codecs))
    print(f"decoded {len(PICTURES)} pictures, {len(SOUNDS)} sounds, {len(VIDEOS)} videos")


def assert_heard(file: bytes, what: object) -> None:
    """A second of a tone, give or take what codecs add at its ends."""
    sound = np.frombuffer(decode_sound(file, 10, build_watch()), np.float32)
    assert 15_000 < len(sound) < 18_000, what
    assert 0.25 < float(np.sqrt(np.mean(sound**2))) < 0.45, what


def build_watch() -> Watch:
    return Watch(30, threading.Event())


if __name__ == "__main__":
    main()
