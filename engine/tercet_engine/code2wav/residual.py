"""The vocoder's residual blocks: activation, convolution, activation, convolution, three times over.

`vocoder` builds these from transformers' modules and drops those.
"""

from typing import Any

import torch
from torch.nn import functional

from tercet_engine.code2wav.anti_alias import AntiAliased, Filters


class ActivatedConvolution:
    """`convolution` is a Conv1d whose input is the activation's output."""

    def __init__(self, activation: Any, convolution: Any, filters: Filters, device: torch.device) -> None:
        self._activate = AntiAliased(activation, filters, device)
        self._weight = convolution.weight.detach() / self._activate.scale[:, None]
        self._bias = None if convolution.bias is None else convolution.bias.detach()
        self._padding: int = convolution.padding[0]
        self._dilation: int = convolution.dilation[0]

    def __call__(self, signal: torch.Tensor) -> torch.Tensor:
        """(batch, channels, samples) -> (batch, channels out, samples)."""
        return functional.conv1d(
            self._activate(signal),
            self._weight,
            self._bias,
            padding=self._padding,
            dilation=self._dilation,
        )


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
