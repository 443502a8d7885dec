"""A shape that moves, at two frames a second, as the gateway samples a video."""

from random import Random
from typing import Final

import numpy as np
from PIL import Image

from demo.conversations.scenes import Direction, Video
from demo.media.pictures import Pixels, choose_background, draw_shape, vary_color

FPS: Final = 2.0
_WAYS: Final[dict[Direction, tuple[int, int]]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
}
_FINE: Final = 2


def draw_video(video: Video) -> Pixels:  # (frames, height, width, 3)
    random = Random(video.seed)
    frames = random.choice([4, 4, 4, 4, 4, 6, 8])
    width, height = random.choice([(336, 336), (308, 336), (336, 308), (420, 252), (252, 420), (392, 308)])
    radius = min(width, height) * random.uniform(0.18, 0.26)
    background, color = choose_background(random, video.color), vary_color(random, video.color)
    dx, dy = _WAYS[video.direction]
    reach_x, reach_y = (width / 2 - radius) * 0.95, (height / 2 - radius) * 0.95
    side_x = random.uniform(-reach_x, reach_x) * (dx == 0)
    side_y = random.uniform(-reach_y, reach_y) * (dy == 0)
    first, last = -random.uniform(0.5, 1), random.uniform(0.5, 1)
    pictures = []
    for frame in range(frames):
        along = first + (last - first) * frame / (frames - 1)
        centre = (width / 2 + side_x + dx * reach_x * along, height / 2 + side_y + dy * reach_y * along)
        canvas = Image.new("RGB", (width * _FINE, height * _FINE), background)
        draw_shape(canvas, video.shape, (centre[0] * _FINE, centre[1] * _FINE), radius * _FINE, color)
        pictures.append(np.asarray(canvas.resize((width, height), Image.Resampling.BOX), np.uint8))
    return np.stack(pictures)
