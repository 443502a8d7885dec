"""BigVGAN's anti-aliased activation: compiled on a CPU, elsewhere as two matrix products around a sine.

`vocoder` builds one for each of the net's. The activation doubles the rate, bends, and halves the rate again;
both filters have twelve taps, and as filters they are most of the vocoder's time. As products, the signal
lies in blocks, and a block of either filter's output is one product of two neighbouring blocks of its input:
more multiplications, but dense ones. `x + sin(a x)^2 / b` is computed on `a x`: the factor goes in with the
copy into blocks, and out through the weights of the convolution that follows, which `vocoder` divides by it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn import functional

from tercet_engine.decoder.linear import Linear, build_linear
from tercet_engine.decoder.team import has_runtime

BLOCK: Final = 16
"""Samples in a block: of 8, 16 and more the fastest on a CPU. At least 5, so that two blocks are enough."""
TAPS: Final = 12
EDGE: Final = 5
"""Samples that the ends are repeated for, at both rates; at the higher one another at the right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The same for all activations of a net. `up` and `down` map rows of blocks to rows of one block."""

    up: Linear
    down: Linear


def build_filters(net: Any, device: torch.device) -> Filters:
    """`net` is any of the activations, still on the CPU."""
    up, down = net.upsample.filter.flatten(), net.downsample.filter.flatten()
    if len(up) != TAPS or len(down) != TAPS or net.upsample.ratio != 2 or net.downsample.stride != 2:
        raise ValueError(f"the activation's filters must double and halve the rate with {TAPS} taps")
    return Filters(
        up=build_linear(_build_doubling(up).to(device)), down=build_linear(_build_halving(down).to(device))
    )


class AntiAliased:
    """`net` is transformers' Qwen2_5OmniAntiAliasedActivation1d with its snake."""

    def __init__(self, net: Any, filters: Filters, device: torch.device) -> None:
        self._filters = filters
        self.scale = net.act.alpha.detach().float().exp().to(device)
        """(channels): the result is this times the net's."""
        width = net.act.beta.detach().float().exp().to(device) + net.act.no_div_by_zero
        self._scale = self.scale[:, None]
        self._bend = (self.scale / width)[:, None]
        self._compiled = self._compile(net) if device.type == "cpu" and has_runtime() else None

    def _compile(self, net: Any) -> Callable[[torch.Tensor, int], torch.Tensor]:
        from tercet_engine.code2wav.compiled_anti_alias import CompiledActivation  # noqa: PLC0415 - compiles

        up, down = net.upsample.filter.flatten(), net.downsample.filter.flatten()
        return CompiledActivation(up, down, self.scale, self._bend.flatten())

    def __call__(self, signal: torch.Tensor, padding: int = 0) -> torch.Tensor:
        """(batch, channels, samples) -> (batch, channels, padding and samples and padding), zeros outside.

        As products and without padding, channels do not lie side by side.
        """
        if self._compiled is not None:
            return self._compiled(signal, padding)
        bent = self._bend_and_halve(signal)
        return functional.pad(bent, (padding, padding)) if padding else bent

    def _bend_and_halve(self, signal: torch.Tensor) -> torch.Tensor:
        batch, channels, samples = signal.shape
        blocks = -(-samples // BLOCK) + 2  # per channel: the last two are beyond the end
        rows = batch * channels * blocks
        flat = signal.new_empty((rows + 1) * BLOCK)
        flat[-BLOCK:] = 0
        padded = flat[:-BLOCK].view(batch, channels, -1)
        torch.mul(signal, self._scale, out=padded[..., EDGE : EDGE + samples])
        _repeat_ends(padded, EDGE, EDGE + samples)
        doubled = self._filters.up(flat.as_strided((rows, 2 * BLOCK), (BLOCK, 1)))
        signal = doubled.view(batch, channels, -1)
        _repeat_ends(signal, EDGE, EDGE + 2 * samples)
        sine = signal.sin()
        bent = torch.addcmul(signal, sine.mul_(sine), self._bend)
        halved = self._filters.down(bent.as_strided((rows - 1, 4 * BLOCK), (2 * BLOCK, 1)))
        strides = (channels * blocks * BLOCK, blocks * BLOCK, 1)
        return halved.as_strided((batch, channels, samples), strides)


def _repeat_ends(signal: torch.Tensor, start: int, stop: int) -> None:
    """In place: what lies outside of [start, stop) becomes the first and the last of what lies inside."""
    signal[..., :start] = signal[..., start : start + 1]
    signal[..., stop:] = signal[..., stop - 1 : stop]


def _build_doubling(taps: torch.Tensor) -> torch.Tensor:
    """(2 blocks, 2 blocks): of two blocks of the input, the block of the output that begins with the first.

    Both count from `EDGE` samples before the signal.
    """
    return _build_banded(2 * taps, 2 * BLOCK, 2 * BLOCK, lambda out, into: out + 10 - 2 * into)


def _build_halving(taps: torch.Tensor) -> torch.Tensor:
    """(1 block, 4 blocks): the same for the way back; the output counts from the signal's beginning."""
    return _build_banded(taps, BLOCK, 4 * BLOCK, lambda out, into: into - 2 * out)


def _build_banded(
    taps: torch.Tensor, outputs: int, inputs: int, find_tap: Callable[[int, int], int]
) -> torch.Tensor:
    """(outputs, inputs) of a filter."""
    places = [[find_tap(out, into) for into in range(inputs)] for out in range(outputs)]
    tap = torch.tensor(places, device=taps.device)
    return taps[tap.clamp(0, TAPS - 1)] * ((tap >= 0) & (tap < TAPS))
