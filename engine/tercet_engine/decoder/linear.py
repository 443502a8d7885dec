"""A linear layer in the fastest form that torch offers.

Built by any network of the engine once per weight, at load; what a decoder can do better stands in `product`.
On a CPU the weight is reordered for oneDNN, which is two to three times faster than torch's default product
in single precision and as exact. The operations are the ones that torch's own compiler emits; they are not
public, so they stand behind this one function, and where they are missing the plain layer does the same.
"""

from collections.abc import Callable

import torch
from torch.nn import functional

Linear = Callable[[torch.Tensor], torch.Tensor]

_PACKED_FOR_ROWS = 32
"""Batch size the layout is chosen for; it serves smaller and larger ones nearly as well."""


def build_linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Linear:
    """`x -> x @ weight.T + bias`; keeps no reference to `weight` when it could be packed."""
    weight = weight.detach().contiguous()
    if not can_pack(weight):
        return lambda x: functional.linear(x, weight, bias)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_FOR_ROWS)
    product = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: product(x, packed, bias, "none", [], "")


def can_pack(weight: torch.Tensor) -> bool:
    """Whether oneDNN's products of reordered weights are there for this one."""
    return (
        weight.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.bfloat16)
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and (weight.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )
