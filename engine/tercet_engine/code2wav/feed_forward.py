"""A linear layer and the gelu that follows it, as one product where the device offers that.

`dit_layers` builds one per layer. On a CPU oneDNN applies the gelu while a tile of the product is still in
its cache, at less than half of what a pass of its own costs. As in `decoder.linear`, the operations are those
that torch's compiler emits, and where they are missing the plain ones do the same.
"""

from typing import Final

import torch
from torch.nn import functional

from tercet_engine.decoder.linear import Linear, can_pack

_PACKED_FOR_ROWS: Final = 96
"""Frames that the layout is chosen for: two blocks, conditioned and not."""


def build_linear_gelu(weight: torch.Tensor, bias: torch.Tensor) -> Linear:
    """`x -> gelu(x @ weight.T + bias)`, gelu by its tanh approximation, as the reference."""
    weight = weight.contiguous()
    if not can_pack(weight):
        return lambda x: functional.gelu(functional.linear(x, weight, bias), approximate="tanh")
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_FOR_ROWS)
    product = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: product(x, packed, bias, "gelu", [], "tanh")
