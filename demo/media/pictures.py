"""Pictures of one to three equal shapes, as users might send them: any size, place and quality."""

import io
import math
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from demo.conversations.scenes import Picture

Pixels = NDArray[np.uint8]
Point = tuple[float, float]

PALETTE: Final = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (40, 70, 220),
    "yellow": (250, 220, 40),
    "orange": (250, 140, 20),
    "purple": (130, 40, 160),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
    "brown": (120, 70, 30),
    "pink": (250, 150, 190),
    "gray": (128, 128, 128),
}
_BACKGROUNDS: Final = {
    "light": ((255, 255, 255), (245, 245, 245), (230, 240, 250), (250, 245, 225), (225, 245, 225)),
    "dark": ((0, 0, 0), (25, 30, 45), (45, 35, 50), (30, 60, 40)),
}
_FINE: Final = 3
"""Drawn this much larger and scaled down, for smooth edges."""


def draw_picture(picture: Picture) -> Pixels:  # (height, width, 3)
    random = Random(picture.seed)
    width, height = _choose_size(random, picture.count)
    canvas = Image.new("RGB", (width * _FINE, height * _FINE), choose_background(random, picture.color))
    radius = min(width / max(1, picture.count), height) * random.uniform(0.3, 0.45)
    for x, y in _place(random, picture.count, width, height, radius):
        draw_shape(
            canvas, picture.shape, (x * _FINE, y * _FINE), radius * _FINE, vary_color(random, picture.color)
        )
    small = canvas.resize((width, height), Image.Resampling.BOX)
    return _degrade(random, small)


def choose_background(random: Random, color: str) -> tuple[int, int, int]:
    """One that the colour stands out from."""
    brightness = sum(PALETTE[color]) / 3
    if color == "gray":
        return random.choice([(255, 255, 255), (0, 0, 0)])
    kind = "dark" if brightness > 190 or (brightness > 60 and random.random() < 0.25) else "light"
    return random.choice(_BACKGROUNDS[kind])


def vary_color(random: Random, color: str) -> tuple[int, int, int]:
    red, green, blue = (max(0, min(255, value + random.randint(-12, 12))) for value in PALETTE[color])
    return red, green, blue


def draw_shape(
    canvas: Image.Image, shape: str, centre: Point, radius: float, color: tuple[int, int, int]
) -> None:
    pen = ImageDraw.Draw(canvas)
    x, y = centre
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    else:
        pen.polygon([(x + radius * dx, y + radius * dy) for dx, dy in _OUTLINES[shape]], fill=color)


def _star() -> list[Point]:
    points = []
    for step in range(10):
        size = 1.0 if step % 2 == 0 else 0.42
        angle = math.pi * (step / 5 - 0.5)
        points.append((size * math.cos(angle), size * math.sin(angle)))
    return points


def _heart() -> list[Point]:
    points = []
    for step in range(40):
        angle = 2 * math.pi * step / 40
        x = 16 * math.sin(angle) ** 3
        y = 13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle) - math.cos(4 * angle)
        points.append((x / 17, -y / 17))
    return points


_ARM: Final = 0.34
_OUTLINES: Final[dict[str, list[Point]]] = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -1), (0.95, 0.8), (-0.95, 0.8)],
    "diamond": [(0, -1), (0.7, 0), (0, 1), (-0.7, 0)],
    "cross": [
        (-_ARM, -1),
        (_ARM, -1),
        (_ARM, -_ARM),
        (1, -_ARM),
        (1, _ARM),
        (_ARM, _ARM),
        (_ARM, 1),
        (-_ARM, 1),
        (-_ARM, _ARM),
        (-1, _ARM),
        (-1, -_ARM),
        (-_ARM, -_ARM),
    ],
    "star": _star(),
    "heart": _heart(),
}


def _choose_size(random: Random, count: int) -> tuple[int, int]:
    """The wider, the more there is to show."""
    height = random.choice([196, 224, 252, 280])
    return int(height * (0.4 + 0.6 * count) * random.choice([1, 1, 1.15])), height


def _place(random: Random, count: int, width: int, height: int, radius: float) -> list[Point]:
    """Side by side along the width, each in a part of its own."""
    part = width / count
    return [
        (
            part * index + random.uniform(radius, max(radius, part - radius)),
            random.uniform(radius, max(radius, height - radius)),
        )
        for index in range(count)
    ]


def _degrade(random: Random, image: Image.Image) -> Pixels:
    """Some have been through JPEG, some are grainy."""
    fate = random.random()
    if fate < 0.4:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=random.randint(40, 95))
        image = Image.open(file)
    pixels = np.asarray(image, np.uint8)
    if fate > 0.8:
        grain = np.random.default_rng(random.getrandbits(32)).normal(0, random.uniform(1, 8), pixels.shape)
        pixels = (pixels + grain).clip(0, 255).astype(np.uint8)
    return pixels
