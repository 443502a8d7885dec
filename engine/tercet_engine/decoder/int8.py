"""Products in 8 bits: weights rounded once at load, rows as they come, sums exact.

Used by `linear` where a stage's settings ask for it. Each output of a weight and each row has a scale of its
own (its largest entry becomes 127), so that a turn's numbers do not depend on who else is in the step. The
kernels are oneDNN's, which take signed weights and unsigned rows, hence the shift by 128. Processors without
VNNI would let sums overflow, and are refused.
"""

from collections.abc import Callable
from typing import Final

import torch

_MOST: Final = 127
_ZERO: Final = 128
_TINY: Final = 1e-12
"""Keeps a row of zeros from being divided by its largest entry."""


def build_int8_linear(
    weight: torch.Tensor, bias: torch.Tensor | None = None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """`x -> x @ weight.T + bias` about, in the type of `weight`; keeps no reference to it.

    Raises ValueError where there are no such products.
    """
    if weight.device.type != "cpu" or not can_multiply():
        raise ValueError("quantization int8 needs a CPU with VNNI: write none, or run this stage on one")
    whole = weight.detach().float()
    scales = whole.abs().amax(1).clamp(min=_TINY) / _MOST
    rounded = (whole / scales[:, None]).round().to(torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(rounded, None)
    zeros = torch.zeros(len(scales), dtype=torch.long)
    product, dtype = torch.ops.onednn.qlinear_pointwise.default, weight.dtype

    def linear(x: torch.Tensor) -> torch.Tensor:
        x = x.float()  # in 16 bits a row's largest entry may become 128, which is one too many
        size = torch.linalg.vector_norm(x, ord=torch.inf, dim=-1, keepdim=True).clamp_(min=_TINY).div_(_MOST)
        rows = (x / size).add_(_ZERO).round_().to(torch.uint8)
        y = product(rows, 1.0, _ZERO, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "")
        y = y.mul_(size) if bias is None else torch.addcmul(bias, y, size)
        return y.to(dtype)

    return linear


def can_multiply() -> bool:
    capable = torch.cpu.get_capabilities()
    return bool(capable.get("avx512_vnni") or capable.get("avx_vnni")) and hasattr(
        torch.ops.onednn, "qlinear_pointwise"
    )
