"""Opens sound and video files for the decoders, with everything shut that a hostile file could reach for.

Used by `decode_audio` and `decode_video`. FFmpeg reads from memory only: formats that name other files
(playlists, SDP, concat) are not on the list, and any attempt to open something else fails. Codecs are on a
list too, frames are bounded before they are allocated, and each decoder has one thread.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import av

from tercet_gateway.media.refusals import MediaError, RefusalCode
from tercet_gateway.media.workers import Watch

# PyAV ships no types that mypy may follow here, hence Any for its objects throughout.

_FORMATS: Final = "wav,mp3,flac,ogg,aac,aiff,mov,matroska,avi"
_CODECS: Final = ",".join(
    (
        "aac,alac,flac,mp3,mp3float,opus,vorbis,libopus,libvorbis,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8",
        "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le",
        "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,libdav1d,av1,mpeg4,mjpeg",
    )
)
_MESSAGES: Final[dict[RefusalCode, str]] = {
    "invalid_audio": "The sound cannot be decoded. Send WAV, MP3, FLAC, Ogg, AAC, M4A or WebM.",
    "invalid_video": "The video cannot be decoded. Send MP4, MOV, WebM, Matroska or AVI.",
}
_DECODER_ERRORS: Final = (av.FFmpegError, ValueError, TypeError, ArithmeticError, LookupError, MemoryError)


def _refuse_to_open(*_: Any) -> Any:
    raise PermissionError("media may not open other files")


@contextmanager
def open_container(data: bytes, code: RefusalCode, max_pixels: int) -> Iterator[Any]:
    """An av.InputContainer. Whatever a decoder raises inside becomes MediaError with `code`."""
    options = {"codec_whitelist": _CODECS, "max_pixels": str(max_pixels), "threads": "1"}
    try:
        with av.open(
            io.BytesIO(data),
            mode="r",
            options=options,
            container_options={"format_whitelist": _FORMATS, "codec_whitelist": _CODECS},
            metadata_errors="replace",
            io_open=_refuse_to_open,
        ) as container:
            yield container
    except _DECODER_ERRORS as error:
        raise MediaError(_MESSAGES[code], code) from error


def iter_frames(container: Any, stream: Any, watch: Watch) -> Iterator[Any]:
    """Frames in the order of time. Broken packets are left out, as players do, unless most are broken."""
    if stream.codec_context is None:
        raise ValueError("no decoder for this stream")
    # What `open` was given binds FFmpeg's probing only; the decoder proper is opened by the first packet.
    stream.codec_context.options = container.options
    whole, broken = 0, 0
    for packet in container.demux(stream):
        watch.check()
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            broken += 1
            continue
        whole += 1
        yield from frames
    if broken >= whole:
        raise ValueError(f"{broken} of {whole + broken} packets are broken")
