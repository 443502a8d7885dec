"""Attention as two matrix products and a softmax, all in the type of its inputs: on a CPU it trains in half
the time of torch's and transformers' own.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_NAME: Final = "causal_by_product"


def attend_by_product(
    query: Tensor, key: Tensor, value: Tensor, scaling: float, mask: Tensor | None = None
) -> Tensor:
    """(..., rows, d), (..., keys, d) and (..., keys, d) -> (..., rows, d); `mask` is added to the scores."""
    with torch.autocast(query.device.type, enabled=False):
        scores = (query * scaling) @ key.transpose(-1, -2)
        if mask is not None:
            scores += mask
        return scores.softmax(-1) @ value


def choose_attention(device: torch.device) -> str:
    """The name of the implementation that a decoder trains fastest with; rows may only be padded at their
    end.
    """
    if device.type == "cuda":
        return "sdpa"
    ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, _make_no_mask)
    return _NAME


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, **options: Any
) -> tuple[Tensor, None]:
    """(batch, heads, rows, d), (batch, kv_heads, keys, d) twice -> (batch, rows, heads, d)."""
    del module, attention_mask
    batch, heads, rows, size = query.shape
    kv_heads, keys = key.shape[1], key.shape[2]
    hidden = torch.full((rows, keys), -torch.inf, dtype=query.dtype).triu(keys - rows + 1)
    together = query.reshape(batch, kv_heads, -1, size)  # the heads of one group, one after the other
    mask = hidden.repeat(heads // kv_heads, 1)
    mixed = attend_by_product(together, key, value, options["scaling"], mask)
    return mixed.view(batch, heads, rows, size).transpose(1, 2), None


def _make_no_mask(*args: Any, **options: Any) -> None:
    del args, options
