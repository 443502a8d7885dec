"""Reads all media of one request: fetches them at once, then decodes them one by one.

Opened in the app's lifespan, called by `conversation`. One by one, so that what is left of the request's
allowance bounds the next decode, and so that a request with many parts does not push others aside.
"""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Literal, Self

from aiohttp.abc import AbstractResolver
from tercet_wire.messages import AudioPart, ImagePart, VideoPart
from tercet_wire.names import INPUT_SAMPLE_RATE_HZ

from tercet_gateway.logs import log_event
from tercet_gateway.media.allowance import Allowance
from tercet_gateway.media.base64_data import is_data_url, parse_base64, parse_data_url
from tercet_gateway.media.decode_audio import decode_sound
from tercet_gateway.media.decode_image import decode_picture
from tercet_gateway.media.decode_video import Video, VideoBounds, decode_video
from tercet_gateway.media.fetch import Fetcher
from tercet_gateway.media.refusals import MediaError, too_large
from tercet_gateway.media.workers import Workers
from tercet_gateway.settings import MediaLimits
from tercet_gateway.tasks import Tasks

Kind = Literal["image", "audio", "video"]
MediaPart = ImagePart | AudioPart | VideoPart

_LOW_DETAIL_PIXELS: Final = 512 * 512
_BYTES_PER_S: Final = INPUT_SAMPLE_RATE_HZ * 4
_MIN_SOUND_S: Final = 0.1
_MIN_SOUND_BYTES: Final = int(_MIN_SOUND_S * _BYTES_PER_S)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A media part as the caller sent it. `text` is a URL, or plain base64 where `plain` says so."""

    kind: Kind
    text: str
    param: str
    """The field of the request that `text` stood in."""
    plain: bool = False
    low_detail: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A media part as the thinker takes it: the description, and the bytes it describes."""

    part: MediaPart
    pixels: tuple[bytes, ...] = ()
    samples: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMedia:
    """`parts` in the order of their sources; `pixels` and `samples` are all theirs, one after the other."""

    parts: tuple[MediaPart, ...]
    pixels: bytes
    samples: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shares:
    """What the parts of one request may still take."""

    seconds: Allowance
    pixels: int
    """Of each picture or video, as kept."""
    video_sound: bool | None


class MediaReader:
    """`resolver` looks names up; tests give their own."""

    def __init__(self, limits: MediaLimits, *, resolver: AbstractResolver | None = None) -> None:
        self._limits = limits
        self._fetcher = Fetcher(limits, resolver)
        self._workers = Workers(threads=limits.workers, waiting=limits.waiting, limit_s=limits.decode_s)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._workers)
        await self._stack.enter_async_context(self._fetcher)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def read(self, sources: Sequence[Source], *, video_sound: bool | None) -> ReadMedia:
        """`video_sound`: None takes a video's sound if there is one, True insists on it, False leaves it."""
        if len(sources) > self._limits.parts:
            raise too_large(f"A request may hold at most {self._limits.parts} media parts.").at(
                sources[self._limits.parts].param
            )
        files = await self._load_all(sources)
        visual = sum(source.kind != "audio" for source in sources)
        shares = _Shares(
            seconds=Allowance(self._limits.request_s, "seconds"),
            pixels=self._limits.request_pixels // max(1, visual),
            video_sound=video_sound,
        )
        media = [await self._decode(source, files.popleft(), shares) for source in sources]
        return ReadMedia(
            parts=tuple(one.part for one in media),
            pixels=await self._join([piece for one in media for piece in one.pixels]),
            samples=await self._join([one.samples for one in media]),
        )

    async def _join(self, pieces: list[bytes]) -> bytes:
        """In a thread: a video may weigh a hundred megabytes."""
        return await self._workers.run(lambda _: b"".join(pieces)) if len(pieces) > 1 else b"".join(pieces)

    async def _load_all(self, sources: Sequence[Source]) -> deque[bytes]:
        allowance = Allowance(self._limits.request_bytes, "bytes")
        files = deque([b""] * len(sources))

        async def load(place: int, source: Source) -> None:
            files[place] = await self._load(source, allowance)

        async with Tasks() as tasks:
            for place, source in enumerate(sources):
                tasks.create_task(load(place, source))
        return files

    async def _load(self, source: Source, allowance: Allowance) -> bytes:
        most = self._max_bytes(source.kind)
        with _refusing_at(source.param):
            if not source.plain and not is_data_url(source.text):
                return await self._fetcher.fetch(source.text, most, allowance)
            allowance.take(len(source.text) // 4 * 3)
            parse = parse_base64 if source.plain else parse_data_url
            return await self._workers.run(lambda _: parse(source.text, most))

    def _max_bytes(self, kind: Kind) -> int:
        match kind:
            case "image":
                return self._limits.image_bytes
            case "audio":
                return self._limits.audio_bytes
            case "video":
                return self._limits.video_bytes

    async def _decode(self, source: Source, data: bytes, shares: _Shares) -> Media:
        with _refusing_at(source.param):
            match source.kind:
                case "image":
                    return await self._decode_picture(source, data, shares)
                case "audio":
                    return await self._decode_sound(data, shares)
                case "video":
                    return await self._decode_video(data, shares)

    async def _decode_picture(self, source: Source, data: bytes, shares: _Shares) -> Media:
        kept = min(self._limits.image_pixels, shares.pixels)
        if source.low_detail:
            kept = min(kept, _LOW_DETAIL_PIXELS)
        picture = await self._workers.run(
            lambda _: decode_picture(data, max_pixels=self._limits.pixels, kept_pixels=kept)
        )
        part = ImagePart(height=picture.height, width=picture.width)
        return Media(part=part, pixels=(picture.pixels,))

    async def _decode_sound(self, data: bytes, shares: _Shares) -> Media:
        samples = await self._workers.run(partial(decode_sound, data, self._limits.audio_s))
        if len(samples) < _MIN_SOUND_BYTES:
            raise MediaError(f"The sound is empty, or shorter than {_MIN_SOUND_S:g} s.", "invalid_audio")
        shares.seconds.take(len(samples) / _BYTES_PER_S)
        return Media(part=AudioPart(samples=len(samples) // 4), samples=samples)

    async def _decode_video(self, data: bytes, shares: _Shares) -> Media:
        bounds = VideoBounds(
            max_pixels=self._limits.pixels,
            max_s=self._limits.video_s,
            max_frames=self._limits.frames,
            kept_pixels=shares.pixels,
        )
        video = await self._workers.run(partial(decode_video, data, bounds))
        shares.seconds.take(video.seconds)
        samples = await self._decode_video_sound(data, video, wanted=shares.video_sound)
        part = VideoPart(
            frames=video.frames,
            height=video.height,
            width=video.width,
            fps=video.fps,
            samples=len(samples) // 4,
        )
        return Media(part=part, pixels=video.pixels, samples=samples)

    async def _decode_video_sound(self, data: bytes, video: Video, *, wanted: bool | None) -> bytes:
        samples = b""
        if video.has_sound and wanted is not False:
            samples = await self._workers.run(partial(decode_sound, data, self._limits.video_s))
        if len(samples) >= _MIN_SOUND_BYTES:
            return samples
        if wanted:
            raise MediaError(
                "use_audio_in_video is true, but this video has no sound. Send false, or leave it out.",
                "invalid_video",
            )
        return b""


@contextmanager
def _refusing_at(param: str) -> Iterator[None]:
    try:
        yield
    except MediaError as refusal:
        log_event(log, "media_refused", param=param, code=refusal.code, reason=repr(refusal.__cause__))
        raise refusal.at(param) from refusal
