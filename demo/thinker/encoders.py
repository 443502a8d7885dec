"""What makes transformers' encoders fast enough to train; they compute the same.

Attention: parts of equal length are done at once. The encoders attend picture by picture and window by
window in a Python loop, unless they are told that flash attention is there; then they hand over everything
and where the parts begin. Patches: a convolution whose window is its step is one matrix product.
"""

from types import MethodType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from demo.attention import attend_by_product

_NAME: Final = "flash_attention_by_length"


def attend_by_length(encoder: Any) -> None:
    """Let this encoder use it."""
    ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)
    encoder.config._attn_implementation = _NAME


def embed_patches_by_product(encoder: Any) -> None:
    """In 16 bits the convolution over time, height and width has no fast kernel on some GPUs."""
    encoder.patch_embed.forward = MethodType(_embed_patches, encoder.patch_embed)


def _embed_patches(patch_embed: Any, patches: Tensor) -> Tensor:
    """(patches, values) -> (patches, hidden)."""
    kernel = patch_embed.proj.weight
    return functional.linear(patches.to(kernel.dtype).flatten(1), kernel.flatten(1))


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """(1, heads, rows, d) each -> (1, rows, heads, d)."""
    del module, attention_mask
    starts: Tensor = options["cu_seq_lens_q"].long()
    lengths = starts.diff()
    mixed = torch.empty_like(query[0].transpose(0, 1))  # (rows, heads, d)
    for length in torch.unique(lengths).tolist():
        rows = (
            starts[:-1][lengths == length][:, None] + torch.arange(length, device=starts.device)
        ).flatten()
        queries, keys, values = (
            each[0, :, rows].reshape(each.shape[1], -1, length, each.shape[3]).transpose(0, 1)
            for each in (query, key, value)
        )  # (parts, heads, length, d)
        some = attend_by_product(queries, keys, values, options["scaling"])
        mixed = mixed.index_copy(0, rows, some.transpose(1, 2).flatten(0, 1).to(mixed.dtype))
    return mixed[None], None
