"""The vocoder's residual blocks: activation, convolution, activation, convolution, three times over.

`vocoder` builds these from transformers' modules and drops those. On a CPU both are compiled.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from tercet_engine.code2wav.anti_alias import AntiAliased, Filters
from tercet_engine.decoder.team import has_runtime


class ActivatedConvolution:
    """`convolution` is a Conv1d whose input is the activation's output."""

    def __init__(self, activation: Any, convolution: Any, filters: Filters, device: torch.device) -> None:
        self._activate = AntiAliased(activation, filters, device)
        self._padding: int = convolution.padding[0]
        self._convolve = _build_convolution(convolution, self._activate, device)

    def __call__(self, signal: torch.Tensor) -> torch.Tensor:
        """(batch, channels, samples) -> (batch, channels out, samples)."""
        return self._convolve(self._activate(signal, self._padding))


def _build_convolution(
    convolution: Any, activation: AntiAliased, device: torch.device
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Of a signal that is padded already."""
    weight = convolution.weight.detach() / activation.scale[:, None]
    bias = None if convolution.bias is None else convolution.bias.detach()
    dilation: int = convolution.dilation[0]
    if device.type == "cpu" and has_runtime():
        from tercet_engine.code2wav.compiled_convolution import (  # noqa: PLC0415 - compiles
            CompiledConvolution,
        )

        return CompiledConvolution(weight, bias, dilation)
    return partial(functional.conv1d, weight=weight, bias=bias, dilation=dilation)


class ResidualBlock:
    """`block` is transformers' Qwen2_5OmniAMPBlock."""

    def __init__(self, block: Any, filters: Filters, device: torch.device) -> None:
        activations = iter(block.activations)
        self._pairs = [
            tuple(
                ActivatedConvolution(next(activations), convolution, filters, device) for convolution in pair
            )
            for pair in zip(block.convs1, block.convs2, strict=True)
        ]

    def __call__(self, signal: torch.Tensor) -> torch.Tensor:
        for first, second in self._pairs:
            signal = second(first(signal)).add_(signal)
        return signal
