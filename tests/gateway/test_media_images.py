"""Pictures: what the thinker gets to see, and what is refused before it costs anything."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image
from tercet_gateway.media.decode_image import Picture, decode_picture
from tercet_gateway.media.refusals import MediaError

from tests.gateway import media_samples as samples


def _decode(data: bytes, *, max_pixels: int = 40_000_000, kept_pixels: int = 10_000_000) -> Picture:
    return decode_picture(data, max_pixels=max_pixels, kept_pixels=kept_pixels)


def _array(picture: Picture) -> samples.Array:
    return np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_every_format_becomes_rgb(format: str) -> None:  # noqa: A002
    """Five formats, the same red, height before width."""
    picture = _decode(samples.picture(format))
    assert (picture.height, picture.width) == (30, 40)
    assert np.abs(_array(picture).astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 255, 255), (0, 0, 255)),
        ("LA", (0, 0), (255, 255, 255)),
        ("L", 128, (128, 128, 128)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 0x8000, (128, 128, 128)),
    ],
)
def test_modes_are_seen_as_a_viewer_shows_them(
    mode: str, color: int | tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    """Transparency lies on white, grey and 16 bits keep their brightness."""
    picture = _decode(samples.save(Image.new(mode, (4, 4), color)))
    assert tuple(_array(picture)[0, 0]) == expected


def test_a_transparent_colour_of_a_palette_lies_on_white() -> None:
    """GIF's transparent index is not shown in its palette's colour."""
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    assert tuple(_array(_decode(samples.save(image, "GIF", transparency=0)))[0, 0]) == (255, 255, 255)


def test_the_first_frame_of_an_animation_counts() -> None:
    """A moving GIF is its first picture."""
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    data = samples.save(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert tuple(_array(_decode(data))[0, 0]) == (255, 0, 0)


@pytest.mark.parametrize("kept_pixels", [800, 200])
@pytest.mark.parametrize(("format", "mode"), [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "RGBA")])
def test_a_photo_is_turned_upright(format: str, mode: str, kept_pixels: int) -> None:  # noqa: A002
    """EXIF orientation 6: the camera was held upright, so the sides change places."""
    image = Image.new(mode, (40, 20), "red")
    image.paste("blue", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = _decode(samples.save(image, format, exif=exif), kept_pixels=kept_pixels)
    assert picture.height == 2 * picture.width
    assert _array(picture)[0, 0].argmax() == 2
    assert _array(picture)[-1, 0].argmax() == 0


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_large_picture_is_scaled_to_what_is_kept(format: str) -> None:  # noqa: A002
    """At most the kept pixels, and nearly all of them, in the picture's own shape."""
    picture = _decode(samples.picture(format, size=(1600, 800)), kept_pixels=20_000)
    assert 19_000 < picture.height * picture.width <= 20_000
    assert picture.width / picture.height == pytest.approx(2, rel=0.02)
    assert len(picture.pixels) == picture.height * picture.width * 3


def test_a_bomb_is_refused_by_its_header() -> None:
    """900 million pixels in a small file cost no memory."""
    tracemalloc.start()
    with pytest.raises(MediaError, match="at most 40000000 pixels") as caught:
        _decode(samples.bomb_png())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code == "content_too_large"
    assert peak < 10_000_000


def test_a_picture_over_the_limit_is_refused() -> None:
    """The limit counts pixels, not sides."""
    data = samples.picture(size=(101, 100))
    assert _decode(data, max_pixels=10_100).width == 101
    with pytest.raises(MediaError, match="at most 10099 pixels"):
        _decode(data, max_pixels=10_099)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("nothing", b""),
        ("text", b"no picture"),
        ("half a JPEG", samples.picture("JPEG", size=(400, 300))[:1500]),
        ("half a PNG", samples.save(Image.effect_noise((64, 64), 90))[:900]),
        ("a PNG with rows missing", samples.bomb_png(5000, 5000)),
        ("a format off the list", samples.picture("TIFF")),
        ("a very long strip", samples.picture(size=(2010, 10))),
        ("a broken GIF", samples.picture("GIF")[:20]),
        ("a WebP of garbage", b"RIFF\x20\x00\x00\x00WEBPVP8 " + bytes(32)),
    ],
)
def test_what_is_no_whole_picture_is_refused(name: str, data: bytes) -> None:
    """Broken, truncated and foreign files are the caller's error, under one code."""
    with pytest.raises(MediaError) as caught:
        _decode(data)
    assert caught.value.code == "invalid_image", name


def test_a_picture_of_endless_scans_is_refused() -> None:
    """Each scan takes as long as the picture is large, and the decoder cannot be stopped between two."""
    assert _decode(samples.many_scans_jpeg(50)).width == 40
    with pytest.raises(MediaError, match="scans") as refused:
        _decode(samples.many_scans_jpeg(501))
    assert refused.value.code == "content_too_large"
