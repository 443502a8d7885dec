"""Mel to sound: transformers' BigVGAN on stretches of frames with context, for many turns at once.

`stage` calls it after `dit`. The network sees only a finite neighbourhood of each sample, so a stretch that
is rendered with context on both sides and trimmed joins its neighbours without a seam. What little
difference is left (short context, a block that was decoded again) is blended away: each stretch also
renders a few samples beyond its end, and the next one fades over from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tercet_wire.names import SAMPLE_RATE_HZ

from tercet_engine.code2wav.anti_alias import build_filters
from tercet_engine.code2wav.graphs import RecordedByShape, Recorder
from tercet_engine.code2wav.residual import ActivatedConvolution, ResidualBlock
from tercet_engine.code2wav.windows import FRAMES_PER_S

SAMPLES_PER_FRAME: Final = SAMPLE_RATE_HZ // FRAMES_PER_S
FADE_SAMPLES: Final = SAMPLES_PER_FRAME // 2
PIECE_FRAMES: Final = 1000
"""A longer stretch is rendered in pieces, so that memory does not grow with it."""
PIECE_CONTEXT_FRAMES: Final = 32
"""Around a piece: more than the network can see at the real model's kernels, so that pieces are exact."""
FLOOR_DB: Final = -115
REFERENCE_DB: Final = 20
FULL_SCALE: Final = 32_767


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """`mel` (left + frames + right, mel bins): the frames to render between their context."""

    mel: torch.Tensor
    left: int
    right: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """`wave`: the frames' samples in [-1, 1]; `tail`: the first ones beyond them, none without context."""

    wave: torch.Tensor
    tail: torch.Tensor


class Vocoder:
    """`net` is transformers' Qwen2_5OmniToken2WavBigVGANModel. Always in float32, as the reference.

    `recorded`: whether shapes that recur are replayed as graphs. By default the device decides.
    """

    def __init__(self, net: Any, device: torch.device, recorded: bool | None = None) -> None:
        samples = int(np.prod(net.config.upsample_rates))
        if samples != SAMPLES_PER_FRAME:
            raise ValueError(f"the vocoder makes {samples} samples a frame, not {SAMPLES_PER_FRAME}")
        filters = build_filters(net.activation_post, device)
        net = net.to(device, torch.float32).eval()
        self._device = device
        self._begin = net.conv_pre
        self._ups = [up[0] for up in net.ups]
        self._blocks = [ResidualBlock(block, filters, device) for block in net.resblocks]
        self._end = ActivatedConvolution(net.activation_post, net.conv_post, filters, device)
        self._is_recorded = device.type == "cuda" if recorded is None else recorded
        self._recorded = RecordedByShape(self._forward, Recorder(device))

    @torch.inference_mode()
    def render(self, stretches: Sequence[Stretch]) -> list[Rendered]:
        """Stretches of equal length share a batch; each result is that of its stretch alone."""
        groups: dict[int, list[int]] = {}
        for index, stretch in enumerate(stretches):
            groups.setdefault(len(stretch.mel), []).append(index)
        waves: dict[int, torch.Tensor] = {}
        for indices in groups.values():
            rendered = self._render([stretches[index].mel for index in indices])
            waves.update(zip(indices, rendered, strict=True))
        return [_trim(waves[index], stretch) for index, stretch in enumerate(stretches)]

    def _render(self, mels: Sequence[torch.Tensor]) -> torch.Tensor:
        """(frames, mel bins) of each -> (batch, samples), on the CPU."""
        frames = len(mels[0])
        if frames > PIECE_FRAMES + 2 * PIECE_CONTEXT_FRAMES:
            return self._render_in_pieces(torch.stack(list(mels)))
        if not self._is_recorded:
            return self._forward(torch.stack(list(mels)).to(self._device)).cpu()
        batch = 1 << (len(mels) - 1).bit_length()  # so that few shapes have to be recorded
        padded = mels[0].new_zeros(batch, *mels[0].shape, device=self._device)
        torch.stack(list(mels), out=padded[: len(mels)])
        return self._recorded(padded)[: len(mels)].to("cpu", copy=True)

    def _render_in_pieces(self, mels: torch.Tensor) -> torch.Tensor:
        pieces = []
        for start in range(0, mels.shape[1], PIECE_FRAMES):
            left = min(start, PIECE_CONTEXT_FRAMES)
            piece = mels[:, start - left : start + PIECE_FRAMES + PIECE_CONTEXT_FRAMES]
            wave = self._forward(piece.to(self._device)).cpu()
            pieces.append(wave[:, left * SAMPLES_PER_FRAME :][:, : PIECE_FRAMES * SAMPLES_PER_FRAME])
        return torch.cat(pieces, 1)

    def _forward(self, mels: torch.Tensor) -> torch.Tensor:
        """(batch, frames, mel bins) -> (batch, samples): the net's own forward, without its squeezing."""
        hidden = self._begin(_normalize(mels.transpose(1, 2)))
        side_by_side = len(self._blocks) // len(self._ups)
        for stage, upsample in enumerate(self._ups):
            hidden = upsample(hidden)
            blocks = self._blocks[stage * side_by_side : (stage + 1) * side_by_side]
            hidden = sum((block(hidden) for block in blocks[1:]), blocks[0](hidden)) / side_by_side
        return self._end(hidden)[:, 0].clamp(-1, 1)


def _normalize(mel: torch.Tensor) -> torch.Tensor:
    """The natural logarithm of an amplitude -> [-1, 1], as the net's own: that makes a tensor of a constant,
    which cannot be recorded.
    """
    decibels = 20 * torch.log10(torch.exp(mel).clamp(min=10 ** (FLOOR_DB / 20))) - REFERENCE_DB
    return (2 * (decibels - FLOOR_DB) / -FLOOR_DB - 1).clamp(-1, 1)


def _trim(wave: torch.Tensor, stretch: Stretch) -> Rendered:
    end = len(wave) - stretch.right * SAMPLES_PER_FRAME
    return Rendered(
        wave=wave[stretch.left * SAMPLES_PER_FRAME : end].clone(),
        tail=wave[end : end + FADE_SAMPLES].clone(),
    )


def fade_over(tail: torch.Tensor, wave: torch.Tensor) -> torch.Tensor:
    """Begin `wave` as `tail`, the earlier rendering of the same samples, and fade over to it."""
    count = min(len(tail), len(wave))
    share = torch.arange(1, count + 1) / (count + 1)
    return torch.cat([torch.lerp(tail[:count], wave[:count], share), wave[count:]])


def to_pcm(wave: torch.Tensor) -> NDArray[np.int16]:
    """[-1, 1] -> 16-bit, rounded; what lies outside is clipped. A NaN passes for silence, so it fails."""
    if wave.isnan().any():
        raise ArithmeticError("the waveform is not made of numbers")
    scaled = (wave * FULL_SCALE).round().clamp(-FULL_SCALE - 1, FULL_SCALE)
    return scaled.to(torch.int16).numpy()
