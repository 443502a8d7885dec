"""Products in 8 bits: weights rounded once at load, rows as they come, sums exact.

Used by `linear` where a stage's settings ask for it. Each output of a weight and each row has a scale of its
own (its largest entry becomes 127), so that a turn's numbers do not depend on who else is in the step. The
kernels are oneDNN's, which take signed weights and unsigned rows, hence the shift by 128. Processors without
VNNI would let sums overflow, and are refused.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import torch

MOST: Final = 127
ZERO: Final = 128
"""What 0 is among unsigned numbers."""
TINY: Final = 1e-12
"""Keeps a row of zeros from being divided by its largest entry."""


def build_int8_linear(
    weight: torch.Tensor, bias: torch.Tensor | None = None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """`x -> x @ weight.T + bias` about, in the type of `weight`; keeps no reference to it.

    Raises ValueError where there are no such products.
    """
    if weight.device.type != "cpu" or not can_multiply():
        raise ValueError("quantization int8 needs a CPU with VNNI: write none, or run this stage on one")
    from tercet_engine.decoder import compiled_int8  # noqa: PLC0415 - compiles, and only 8 bits want it

    whole = weight.detach().float()
    scales = whole.abs().amax(1).clamp(min=TINY) / MOST
    rounded = (whole / scales[:, None]).round().to(torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(rounded, None)
    zeros = torch.zeros(len(scales), dtype=torch.long)
    shift = np.zeros(len(scales), np.float32) if bias is None else bias.detach().float().numpy()
    product, dtype = torch.ops.onednn.qlinear_pointwise.default, weight.dtype

    def linear(x: torch.Tensor) -> torch.Tensor:
        rows = torch.empty(x.shape, dtype=torch.uint8)
        sizes = np.empty(len(x), np.float32)
        # From 32 bits: in 16 a row's largest entry may become 128, which is one too many.
        compiled_int8.round_rows(x.float().contiguous().numpy(), rows.numpy(), sizes)
        y: torch.Tensor = product(
            rows, 1.0, ZERO, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        compiled_int8.scale_rows(y.numpy(), sizes, shift)
        return y.to(dtype)

    return linear


def can_multiply() -> bool:
    capable = torch.cpu.get_capabilities()
    return bool(capable.get("avx512_vnni") or capable.get("avx_vnni")) and hasattr(
        torch.ops.onednn, "qlinear_pointwise"
    )
