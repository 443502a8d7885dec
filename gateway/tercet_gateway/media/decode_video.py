"""A video file -> frames, evenly spaced in time, scaled to what the thinker looks at.

Called by `reader` in a worker thread. Two passes: the first only reads packets, to learn when frames are
shown (headers lie about it), the second decodes and keeps the frames that `plan_frames` chose. The rules are
those of Qwen's own tools: 2 frames a second, an even number, sides in multiples of 28.
"""

import math
import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from tercet_gateway.media.containers import iter_frames, open_container
from tercet_gateway.media.refusals import MediaError, too_large
from tercet_gateway.media.workers import Watch

_FPS: Final = 2.0
_MIN_FRAMES: Final = 4
_PATCH: Final = 28
_FLOOR_PIXELS: Final = 128 * _PATCH * _PATCH
_CEILING_PIXELS: Final = 768 * _PATCH * _PATCH
"""The processor brings every frame between these two; sending more or less is waste."""
_MAX_ASPECT: Final = 200
_MAX_PACKETS: Final = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoBounds:
    max_pixels: int
    """Of one frame of the file; more is refused."""
    max_s: float
    max_frames: int
    kept_pixels: int
    """Of all frames that are kept; the more frames, the smaller each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    frames: int
    height: int
    width: int
    fps: float
    pixels: tuple[bytes, ...]  # frames times (height, width, 3)
    seconds: float
    has_sound: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePlan:
    """Keep the frames that are on screen at `times_s`."""

    times_s: tuple[float, ...]
    fps: float
    seconds: float


def decode_video(data: bytes, bounds: VideoBounds, watch: Watch) -> Video:
    with open_container(data, "invalid_video", bounds.max_pixels) as container:
        shown_s = _read_times(container, watch)
        has_sound = bool(container.streams.audio)
    plan = plan_frames(shown_s, bounds)
    with open_container(data, "invalid_video", bounds.max_pixels) as container:
        frames, height, width = _pick_frames(container, plan, bounds.kept_pixels, watch)
    return Video(
        frames=len(frames),
        height=height,
        width=width,
        fps=plan.fps,
        pixels=frames,
        seconds=plan.seconds,
        has_sound=has_sound,
    )


def _read_times(container: Any, watch: Watch) -> list[float]:
    """When each frame is shown, in order, as the packets say."""
    if not container.streams.video:
        raise MediaError("The file holds no moving pictures.", "invalid_video")
    stamps = []
    for packet in container.demux(container.streams.video[0]):
        watch.check()
        stamp = packet.dts if packet.pts is None else packet.pts
        if packet.size and stamp is not None:
            stamps.append(float(stamp * packet.time_base))
        if len(stamps) > _MAX_PACKETS:
            raise too_large(f"The video may have at most {_MAX_PACKETS} frames.")
    return sorted(stamps)


def plan_frames(shown_s: Sequence[float], bounds: VideoBounds) -> FramePlan:
    """Which moments to look at: `_FPS` a second where the bounds let us, and an even number of them."""
    if not shown_s:
        raise MediaError("The video holds no frames.", "invalid_video")
    # The last frame is shown as long as most others are.
    gaps = [later - earlier for earlier, later in pairwise(shown_s)]
    frame_s = statistics.median(gaps) if gaps else 1 / _FPS
    seconds = shown_s[-1] - shown_s[0] + frame_s
    if seconds > bounds.max_s:
        raise too_large(f"The video may be at most {bounds.max_s:g} seconds long.")
    if seconds <= 0:
        raise MediaError("All frames of the video are shown at one moment.", "invalid_video")
    most = min(bounds.max_frames, len(shown_s))
    kept = max(2, min(max(round(seconds * _FPS), _MIN_FRAMES), most) // 2 * 2)
    # Half a frame late, so that rounding in the file's clock does not take us to the frame before.
    times_s = tuple(shown_s[0] + frame_s / 2 + index * seconds / kept for index in range(kept))
    return FramePlan(times_s=times_s, fps=kept / seconds, seconds=seconds)


def fit_frame(height: int, width: int, most: float) -> tuple[int, int]:
    """The size to keep: scaled down to at most `most` pixels, in multiples of the patch; never scaled up."""
    if max(height, width) > _MAX_ASPECT * min(height, width):
        raise MediaError(f"The video is more than {_MAX_ASPECT} times as long as wide.", "invalid_video")
    most = min(max(most, _FLOOR_PIXELS), _CEILING_PIXELS)
    if height * width <= most:
        return height, width
    scale = math.sqrt(most / (height * width))
    sides = (max(_PATCH, int(side * scale) // _PATCH * _PATCH) for side in (height, width))
    return next(sides), next(sides)


def _pick_frames(
    container: Any, plan: FramePlan, kept_pixels: int, watch: Watch
) -> tuple[tuple[bytes, ...], int, int]:
    """The frames on screen at the plan's times, and their height and width."""
    wanted = len(plan.times_s)
    kept: list[bytes] = []
    on_screen = None
    for frame in iter_frames(container, container.streams.video[0], watch):
        if on_screen is None:
            size = fit_frame(frame.height, frame.width, kept_pixels / wanted)
            turns = round(frame.rotation / 90) % 4
        elif frame.time is not None:
            due = bisect_left(plan.times_s, frame.time) - len(kept)
            kept += [_render(on_screen, size, turns)] * due if due > 0 else []
        on_screen = frame
        if len(kept) == wanted:
            break
    if on_screen is None:
        raise ValueError("no frame could be decoded")
    if len(kept) < wanted:
        kept += [_render(on_screen, size, turns)] * (wanted - len(kept))
    height, width = size if turns % 2 == 0 else size[::-1]
    return tuple(kept), height, width


def _render(frame: Any, size: tuple[int, int], quarter_turns: int) -> bytes:
    """RGB of `size` (height, width), then turned counterclockwise, as the file asks of players."""
    small = frame.reformat(height=size[0], width=size[1], format="rgb24", interpolation="BICUBIC")
    return np.rot90(small.to_ndarray(), quarter_turns).tobytes()
