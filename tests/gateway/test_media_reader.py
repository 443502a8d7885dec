"""The reader as a whole: sources in, parts and flat arrays out, each refusal at its field."""

import asyncio
import base64
import gc
import threading
import weakref
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from tercet_gateway.errors import RequestError, ServiceError
from tercet_gateway.media.reader import Kind, MediaReader, ReadMedia, Source
from tercet_gateway.media.refusals import MediaError
from tercet_gateway.media.workers import Watch, Workers
from tercet_gateway.settings import MediaLimits
from tercet_wire.messages import AudioPart, ImagePart, VideoPart

from tests.gateway import media_samples as samples

SOUND = samples.wav(samples.tone(0.5, 16_000), 16_000)


def source(kind: Kind, data: bytes, param: str = "messages[0].content[0]") -> Source:
    return Source(kind=kind, text=samples.data_url(data), param=param)


async def read(
    *sources: Source, limits: MediaLimits | None = None, video_sound: bool | None = None
) -> ReadMedia:
    async with MediaReader(limits or MediaLimits()) as reader:
        return await reader.read(sources, video_sound=video_sound)


async def refusal(
    *sources: Source, limits: MediaLimits | None = None, video_sound: bool | None = None
) -> tuple[int, str, str | None, str | None]:
    with pytest.raises(RequestError) as caught:
        await read(*sources, limits=limits, video_sound=video_sound)
    error = caught.value
    return error.status, error.type, error.code, error.param


async def test_media_follow_one_another_in_the_order_of_their_parts() -> None:
    """A video's sound lies between the sounds before and after it."""
    read_media = await read(
        source("audio", SOUND),
        source("image", samples.picture()),
        source("video", samples.video(2.0, sound_s=2.0)),
        source("audio", samples.wav(samples.tone(0.25, 16_000), 16_000)),
    )
    first, image, video, last = read_media.parts
    assert first == AudioPart(samples=8000)
    assert image == ImagePart(height=30, width=40)
    assert isinstance(video, VideoPart)
    assert last == AudioPart(samples=4000)
    assert video.samples / 16_000 == pytest.approx(2.0, abs=0.1)
    assert len(read_media.samples) == 4 * (8000 + video.samples + 4000)
    assert len(read_media.pixels) == 3 * (30 * 40 + video.frames * video.height * video.width)
    sound = np.frombuffer(read_media.samples, "<f4")
    assert np.allclose(sound[-4000:], samples.tone(0.25, 16_000), atol=1e-4)
    assert read_media.pixels[:3] == b"\xff\x00\x00"


async def test_no_media_is_nothing() -> None:
    """A turn of text only costs no thread."""
    assert await read() == ReadMedia(parts=(), pixels=b"", samples=b"")


async def test_plain_base64_is_read_as_it_is() -> None:
    """OpenAI's input_audio has no data URL around it."""
    plain = Source(kind="audio", text=base64.b64encode(SOUND).decode(), param="p", plain=True)
    assert (await read(plain)).parts == (AudioPart(samples=8000),)


async def test_large_base64_is_read_in_slices() -> None:
    """Three megabytes come out as they went in."""
    sound = samples.wav(samples.tone(100.0, 16_000), 16_000)
    (part,) = (await read(source("audio", sound))).parts
    assert part == AudioPart(samples=1_600_000)


@pytest.mark.parametrize(("wanted", "heard"), [(None, True), (True, True), (False, False)])
async def test_a_videos_sound_is_taken_as_asked(wanted: bool | None, heard: bool) -> None:
    """By default it is heard."""
    read_media = await read(source("video", samples.video(sound_s=2.0)), video_sound=wanted)
    assert (len(read_media.samples) > 0) is heard


@pytest.mark.parametrize("sound_s", [None, 0.0, 0.02])
async def test_sound_that_a_video_does_not_have(sound_s: float | None) -> None:
    """Left alone where nobody insists on it, and a clear refusal where somebody does."""
    video = source("video", samples.video(sound_s=sound_s), "p")
    assert (await read(video)).samples == b""
    assert await refusal(video, video_sound=True) == (400, "invalid_request_error", "invalid_video", "p")


async def test_low_detail_is_a_small_picture() -> None:
    """At most 512 x 512 pixels' worth."""
    large = replace(source("image", samples.picture("JPEG", size=(2000, 1000))), low_detail=True)
    (part,) = (await read(large)).parts
    assert isinstance(part, ImagePart)
    assert 250_000 < part.height * part.width <= 512 * 512


async def test_pictures_share_the_requests_pixels() -> None:
    """Many large pictures each become smaller, rather than refused."""
    sources = [source("image", samples.picture("JPEG", size=(400, 400))) for _ in range(4)]
    read_media = await read(*sources, limits=MediaLimits(request_pixels=40_000))
    assert len(read_media.pixels) <= 3 * 40_000
    assert len(read_media.parts) == 4


BAD = b"not what it says"


@pytest.mark.parametrize(
    ("bad", "status", "code"),
    [
        (source("image", BAD), 400, "invalid_image"),
        (source("audio", BAD), 400, "invalid_audio"),
        (source("video", BAD), 400, "invalid_video"),
        (source("image", samples.bomb_png()), 413, "content_too_large"),
        (source("audio", samples.wav(np.zeros(5, np.float32), 16_000)), 400, "invalid_audio"),
        (
            source("audio", samples.wav(np.zeros(5, np.float32), 16_000, claimed_bytes=345_600_000)),
            400,
            "invalid_audio",
        ),
        (Source(kind="image", text="data:image/png;base64,!!!!", param=""), 400, "invalid_base64"),
        (Source(kind="image", text="data:image/png;base64,abc", param=""), 400, "invalid_base64"),
        (Source(kind="image", text="data:image/png;base64,", param=""), 400, "invalid_base64"),
        (Source(kind="image", text="data:image/png;base64,Ünö=", param=""), 400, "invalid_base64"),
        (Source(kind="image", text="data:image/png;base64,AA==AAAA", param=""), 400, "invalid_base64"),
        (Source(kind="image", text="data:image/png,plain", param=""), 400, "invalid_url"),
        (Source(kind="image", text="data:image/png;base64", param=""), 400, "invalid_url"),
        (Source(kind="audio", text="UklGRg", param="", plain=True), 400, "invalid_base64"),
        (Source(kind="image", text="https://media.example/a.png", param=""), 400, "url_not_allowed"),
        (Source(kind="image", text="file:///etc/passwd", param=""), 400, "invalid_url"),
        (Source(kind="image", text="", param=""), 400, "invalid_url"),
    ],
)
async def test_each_refusal_names_its_field(bad: Source, status: int, code: str) -> None:
    """Status, type, code and the second part's param, whatever is wrong with it."""
    good = source("image", samples.picture())
    param = "messages[2].content[1].image_url.url"
    found = await refusal(good, replace(bad, param=param))
    assert found == (status, "invalid_request_error", code, param)


@pytest.mark.parametrize(
    ("limits", "kind", "data"),
    [
        (MediaLimits(parts=1), "image", samples.picture()),
        (MediaLimits(image_bytes=10), "image", samples.picture()),
        (MediaLimits(audio_bytes=1000), "audio", SOUND),
        (MediaLimits(video_bytes=500), "video", samples.video()),
        (MediaLimits(request_bytes=len(SOUND) + 100), "audio", SOUND),
        (MediaLimits(pixels=1000), "image", samples.picture()),
        (MediaLimits(audio_s=0.4), "audio", SOUND),
        (MediaLimits(video_s=1.0), "video", samples.video()),
        (MediaLimits(request_s=0.9), "audio", SOUND),
        (MediaLimits(request_s=3.0), "video", samples.video()),
    ],
)
async def test_each_limit_is_kept(limits: MediaLimits, kind: Kind, data: bytes) -> None:
    """Twice the same part is too much of something: 413, at a field."""
    found = await refusal(source(kind, data, "first"), source(kind, data, "second"), limits=limits)
    assert found[:3] == (413, "invalid_request_error", "content_too_large")
    assert found[3] in {"first", "second"}


async def test_frames_are_bounded_by_the_settings() -> None:
    """A long video is looked at less often."""
    (part,) = (await read(source("video", samples.video(4.0)), limits=MediaLimits(frames=5))).parts
    assert isinstance(part, VideoPart)
    assert part.frames == 4
    assert part.fps == pytest.approx(1.0)


async def test_no_refusal_holds_what_a_library_said() -> None:
    """The caller reads about the request; the log has the rest."""
    with pytest.raises(RequestError) as caught:
        await read(source("audio", BAD))
    assert "Errno" not in caught.value.message
    assert "avformat" not in caught.value.message


# --- the threads -------------------------------------------------------------------------------


async def test_more_decodes_than_places_are_refused_as_overloaded() -> None:
    """The one place is taken, so the next is told to come again; then it is free."""
    started, release = threading.Event(), threading.Event()

    def work(_: Watch) -> bool:
        started.set()
        return release.wait(10)

    async with Workers(threads=1, waiting=0, limit_s=30) as workers:
        running = asyncio.ensure_future(workers.run(work))
        assert await asyncio.to_thread(started.wait, 10)
        with pytest.raises(ServiceError) as caught:
            await workers.run(work)
        release.set()
        assert await running
        assert await workers.run(lambda _: "free again") == "free again"
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
    assert caught.value.headers() == {"retry-after": "1"}


async def test_a_decode_whose_caller_has_gone_stops() -> None:
    """Cancelling the turn stops the watch, so that the thread gives up at the next frame."""
    started, ended = threading.Event(), threading.Event()

    def work(watch: Watch) -> None:
        started.set()
        try:
            while True:
                watch.check()
        finally:
            ended.set()

    async with Workers(threads=1, waiting=0, limit_s=30) as workers:
        job = asyncio.ensure_future(workers.run(work))
        assert await asyncio.to_thread(started.wait, 10)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert await asyncio.to_thread(ended.wait, 10)


async def test_a_refused_medium_does_not_wait_for_the_collector() -> None:
    """Its bytes go with its error: a cycle between the two would keep many of them in memory."""

    class Medium:
        pass

    def refuse(medium: Medium, _: Watch) -> None:
        raise MediaError(f"{medium} cannot be read", "invalid_image")

    async def ask() -> weakref.ref[Medium]:
        medium = Medium()
        with pytest.raises(MediaError):
            await workers.run(partial(refuse, medium))
        return weakref.ref(medium)

    gc.disable()
    try:
        async with Workers(threads=1, waiting=0, limit_s=30) as workers:
            refused = await ask()
            await workers.run(lambda _: None)  # the thread has let the first job go
        assert refused() is None
    finally:
        gc.enable()
