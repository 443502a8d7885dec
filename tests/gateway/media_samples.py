"""Small real media for the tests, made on the spot: pictures, sound, video, and files that lie."""

import base64
import io
import struct
import zlib
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]


def data_url(data: bytes, media_type: str = "application/octet-stream") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


# --- pictures ----------------------------------------------------------------------------------


def picture(format: str = "PNG", *, size: tuple[int, int] = (40, 30), color: str = "red") -> bytes:  # noqa: A002
    return save(Image.new("RGB", size, color), format)


def save(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:  # noqa: A002
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def bomb_png(width: int = 30_000, height: int = 30_000) -> bytes:
    """A few hundred bytes that claim to be `width` by `height`."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def many_scans_jpeg(scans: int) -> bytes:
    """A progressive JPEG whose last scan, a few bytes, comes again and again."""
    data = save(Image.new("L", (40, 30), 128), "JPEG", progressive=True).removesuffix(b"\xff\xd9")
    return data + data[data.rindex(b"\xff\xda") :] * scans + b"\xff\xd9"


# --- sound -------------------------------------------------------------------------------------


def tone(seconds: float, rate_hz: int, *, pitch_hz: float = 440.0, level: float = 0.5) -> Array:
    times = np.arange(int(seconds * rate_hz)) / rate_hz
    wave: Array = level * np.sin(2 * np.pi * pitch_hz * times)
    return wave.astype(np.float32)


def wav(samples: Array, rate_hz: int, *, claimed_bytes: int | None = None) -> bytes:
    """16-bit WAV of (samples,) or (channels, samples) floats, whose header may lie about its length."""
    channels = 1 if samples.ndim == 1 else samples.shape[0]
    pcm = (samples.T.reshape(-1) * 32767).astype("<i2").tobytes()
    size = len(pcm) if claimed_bytes is None else claimed_bytes
    layout = struct.pack("<IHHIIHH", 16, 1, channels, rate_hz, rate_hz * 2 * channels, 2 * channels, 16)
    head = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + layout
    return head + b"data" + struct.pack("<I", size) + pcm


# --- video -------------------------------------------------------------------------------------


def video(
    seconds: float = 2.0,
    *,
    size: tuple[int, int] = (64, 48),
    fps: int = 10,
    freeze_s: float = 0.0,
    left_black: bool = False,
    sound_s: float | None = None,
    container: str = "mp4",
    codecs: tuple[str, str] = ("libx264", "aac"),
    options: dict[str, str] | None = None,
) -> bytes:
    """Frames that grow brighter from black to white, the middle one shown `freeze_s` longer.

    `sound_s`: as many seconds of a tone; None: no sound track. `options` are the picture codec's.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        pictures = output.add_stream(codecs[0], rate=fps)
        pictures.width, pictures.height = size
        pictures.pix_fmt = "yuv420p"
        pictures.options = options or {}
        sound = output.add_stream(codecs[1], rate=48_000, layout="mono") if sound_s is not None else None
        for index, frame in enumerate(frames := _frames(round(seconds * fps), size, left_black)):
            frame.pts = index + (round(freeze_s * fps) if index >= len(frames) // 2 else 0)
            output.mux(pictures.encode(frame))
        output.mux(pictures.encode(None))
        if sound is not None:
            for piece in _pieces(tone(sound_s or 0.0, 48_000)):
                output.mux(sound.encode(piece))
            output.mux(sound.encode(None))
    return file.getvalue()


def turned_clockwise(mp4: bytes) -> bytes:
    """The same MP4 with the matrix of a phone that was held upright."""
    at = mp4.index(b"tkhd") + 4 + 40
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    return mp4[:at] + matrix + mp4[at + len(matrix) :]


def _frames(count: int, size: tuple[int, int], left_black: bool) -> list[Any]:
    levels = np.linspace(0, 255, count).astype(np.uint8)
    arrays = [np.full((size[1], size[0], 3), level, np.uint8) for level in levels]
    for array in arrays if left_black else []:
        array[:, : size[0] // 2] = 0
    return [av.VideoFrame.from_ndarray(array, format="rgb24") for array in arrays]


def _pieces(samples: Array) -> list[Any]:
    pieces = []
    for start in range(0, len(samples), 960):
        pcm = (samples[start : start + 960].reshape(1, -1) * 32767).astype(np.int16)
        piece = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        piece.sample_rate = 48_000
        piece.pts = start
        pieces.append(piece)
    return pieces
