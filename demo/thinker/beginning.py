"""How the thinker's decoder begins: able to look up a byte of the prompt by the two bytes before it.

Repeating, spelling and most answers copy from the question. A decoder that starts at random finds that out
after some millions of bytes; one that starts with the two heads that copying takes (one that looks at the
bytes just before, one that looks for the same bytes; "induction heads", Olsson et al. 2022) begins with it,
and training goes on from there.
"""

from typing import Any, Final

import torch
from torch import Tensor

_REACH: Final = 7.0
"""Length of the constant part of queries and keys that see a fixed distance."""
_FAST_PAIRS: Final = 8
"""Rotary pairs that turn fast enough to tell neighbours apart."""
_SLOW_PAIRS: Final = 20
"""Rotary pairs, the last ones, that hardly turn over a prompt, so that contents can be compared in them."""
_MATCHING: Final = 2.0
_COPIED: Final = 2.0
_SAID: Final = 0.1


@torch.no_grad()
def begin_with_copying(model: Any, head: Tensor, rotary_base: float) -> None:
    """`model` is a Qwen2 text model whose hidden size is four of its heads; `head` (vocabulary, hidden)."""
    size = model.config.head_dim
    generator = torch.Generator().manual_seed(23)
    basis = torch.linalg.qr(torch.randn(4 * size, 4 * size, generator=generator)).Q
    itself, before, twice_before, next_one = basis.split(size)  # each (head_dim, hidden)
    first, second = model.layers[0].self_attn, model.layers[1].self_attn

    frequencies = rotary_base ** -(torch.arange(_FAST_PAIRS) / (size // 2))
    pairs = torch.arange(_FAST_PAIRS)
    first.k_proj.bias[pairs] = _REACH
    first.v_proj.weight[:size] = itself
    for distance, place in ((1, before), (2, twice_before)):
        rows = size * (distance - 1)
        first.q_proj.bias[rows + pairs] = _REACH * (distance * frequencies).cos()
        first.q_proj.bias[rows + size // 2 + pairs] = -_REACH * (distance * frequencies).sin()
        first.o_proj.weight[:, rows : rows + size] = place.T

    slow = torch.arange(size // 2 - _SLOW_PAIRS, size // 2)
    second.q_proj.weight[:size], second.k_proj.weight[:size] = 0, 0
    for rows, wanted, found in ((slow, itself, before), (slow + size // 2, before, twice_before)):
        second.q_proj.weight[rows] = _MATCHING * wanted[slow]
        second.k_proj.weight[rows] = found[slow]
    second.v_proj.weight[:size] = itself
    second.o_proj.weight[:, :size] = _COPIED * next_one.T
    head += _SAID * model.embed_tokens.weight @ itself.T @ next_one
