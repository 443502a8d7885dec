"""Turns decoded pictures, videos and sounds into what the encoders take, on the CPU.

Used by `prompts`. The processors are the checkpoint's own; only the padding of sounds differs: theirs is five
minutes for each sound, here it is what the spectrogram's last frame needs.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tercet_wire.messages import StageFailure
from torch import Tensor
from transformers import Qwen2_5OmniProcessor

from tercet_engine.positions import Grid, frame_times
from tercet_engine.stage import StageError

Pixels = NDArray[np.uint8]
Samples = NDArray[np.float32]

_STILL: Final = np.zeros(1, np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """A picture or video cut up for the vision encoder; `grid` is what its tokens look like."""

    values: Tensor  # (patches, channels * temporal * patch * patch)
    grid_thw: Tensor  # (1, 3), before merging
    grid: Grid

    @property
    def tokens(self) -> int:
        return len(self.grid.times) * self.grid.height * self.grid.width


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrogram:
    mel: Tensor  # (mel bins, frames)
    tokens: int


class MediaProcessor:
    """Thread-safe: it holds settings only."""

    def __init__(self, processor: Qwen2_5OmniProcessor, positions_per_s: int) -> None:
        self._images = processor.image_processor
        self._videos = processor.video_processor
        self._sounds = processor.feature_extractor
        # Long videos share one budget of pixels, as in Qwen's own tools.
        self._video_settings: dict[str, Any] = {**processor.videos_kwargs, "cap_pixels_per_frame": True}
        self._positions_per_s = positions_per_s

    def read_image(self, pixels: Pixels) -> Patches:  # (height, width, 3)
        try:
            out = self._images([pixels], input_data_format="channels_last", return_tensors="pt")
        except ValueError as error:
            raise invalid(f"a picture of {pixels.shape[1]} x {pixels.shape[0]} pixels: {error}") from error
        merge = self._images.merge_size
        return self._patches(out["pixel_values"], out["image_grid_thw"], _STILL, merge)

    def read_video(self, pixels: Pixels, fps: float) -> Patches:  # (frames, height, width, 3)
        try:
            out = self._videos(
                [pixels], input_data_format="channels_last", return_tensors="pt", **self._video_settings
            )
        except ValueError as error:
            raise invalid(f"a video of {pixels.shape[2]} x {pixels.shape[1]} pixels: {error}") from error
        grid = out["video_grid_thw"]
        seconds = self._videos.temporal_patch_size / fps
        times = frame_times(int(grid[0, 0]), seconds, self._positions_per_s)
        return self._patches(out["pixel_values_videos"], grid, times, self._videos.merge_size)

    def read_sound(self, samples: Samples) -> Spectrogram:
        extractor = self._sounds
        if len(samples) > extractor.n_samples:
            most_s, length_s = (
                count / extractor.sampling_rate for count in (extractor.n_samples, len(samples))
            )
            raise invalid(f"a sound may last {most_s:.0f} s, this one lasts {length_s:.1f} s")
        frames = -(-len(samples) // extractor.hop_length)
        tokens = sound_tokens(frames)
        if tokens < 1:
            raise invalid(f"a sound must last 30 ms, this one has {len(samples)} samples")
        padded = np.zeros(frames * extractor.hop_length + 2 * extractor.n_fft, np.float32)
        padded[: len(samples)] = samples
        out = extractor(
            padded, padding="do_not_pad", sampling_rate=extractor.sampling_rate, return_tensors="pt"
        )
        return Spectrogram(mel=out["input_features"][0, :, :frames], tokens=tokens)

    @staticmethod
    def _patches(values: Tensor, grid_thw: Tensor, times: NDArray[np.int32], merge: int) -> Patches:
        height, width = (int(side) // merge for side in grid_thw[0, 1:])
        return Patches(values=values, grid_thw=grid_thw, grid=Grid(times=times, height=height, width=width))


def sound_tokens(frames: int) -> int:
    """Two halvings in the audio encoder: a convolution, then a pooling."""
    return ((frames - 1) // 2 - 1) // 2 + 1


def invalid(message: str) -> StageError:
    return StageError(StageFailure(type="invalid_request", message=message, param="messages"))
