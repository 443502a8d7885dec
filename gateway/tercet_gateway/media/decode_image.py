"""A picture file -> RGB, as a viewer would show it: turned upright, on white, first frame.

Called by `reader` in a worker thread. The header's size is checked before anything is decoded, so that a
tiny file cannot ask for gigabytes. A picture of more pixels than the thinker may get is scaled down, both
sides alike; JPEG does most of that while decoding, which makes large photos cheaper, not dearer. The
processor behind the thinker scales again, to multiples of its patches.
"""

import io
import math
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin

from tercet_gateway.media.refusals import MediaError, too_large

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_MAX_SCANS: Final = 500
"""A progressive JPEG draws the whole picture once a scan. Ten are usual, and a scan needs but a few bytes."""
_SCAN: Final = b"\xff\xda"
_MAX_ASPECT: Final = 200
"""The processor takes no narrower pictures."""

# What Pillow's decoders are known to raise over broken files; it has no exception of its own.
_DECODER_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    height: int
    width: int
    pixels: bytes  # (height, width, 3)


def decode_picture(data: bytes, *, max_pixels: int, kept_pixels: int) -> Picture:
    """`max_pixels`: of the file, else it is refused; `kept_pixels`: of the result, else it is scaled."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(data), formats=_FORMATS) as image,
        ):
            _check_size(image, max_pixels)
            _check_scans(image, data)
            return _render(image, kept_pixels)
    except Image.DecompressionBombError as error:
        raise _too_many(max_pixels) from error
    except _DECODER_ERRORS as error:
        raise MediaError(
            "The picture cannot be decoded. It must be a whole JPEG, PNG, WebP, GIF or BMP.", "invalid_image"
        ) from error


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise _too_many(max_pixels)
    if not width or not height or max(width, height) > _MAX_ASPECT * min(width, height):
        raise MediaError(
            f"The picture is more than {_MAX_ASPECT} times as long as it is wide.", "invalid_image"
        )


def _check_scans(image: Image.Image, data: bytes) -> None:
    """Pillow cannot be stopped once it decodes."""
    if isinstance(image, JpegImagePlugin.JpegImageFile) and data.count(_SCAN) > _MAX_SCANS:
        raise too_large(f"The picture may be drawn in at most {_MAX_SCANS} scans.")


def _too_many(max_pixels: int) -> MediaError:
    return too_large(f"The picture may have at most {max_pixels} pixels.")


def _render(image: Image.Image, kept_pixels: int) -> Picture:
    size = _fit(image.size, kept_pixels)
    image.draft(None, size)  # JPEG only: decode at 1/2, 1/4 or 1/8, never below `size`
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    colours = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if colours.size != size:
        colours = colours.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    upright = ImageOps.exif_transpose(_on_white(colours))
    return Picture(height=upright.height, width=upright.width, pixels=upright.tobytes())


def _fit(size: tuple[int, int], kept_pixels: int) -> tuple[int, int]:
    """The largest size of the same shape with at most `kept_pixels`."""
    width, height = size
    scale = math.sqrt(kept_pixels / (width * height))
    if scale >= 1:
        return size
    return max(1, int(width * scale)), max(1, int(height * scale))


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey; Pillow's own conversion cuts off at 255 in place of scaling."""
    return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    white = Image.new("RGBA", image.size, "white")
    flat = Image.alpha_composite(white, image).convert("RGB")
    flat.info = image.info  # holds the orientation
    return flat
