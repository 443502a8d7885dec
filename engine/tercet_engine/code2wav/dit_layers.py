"""One layer of the DiT, on rows of blocks: attention within the block, and where a layer has it, to the
block before or after.

`dit` builds these from transformers' layers and drops those. Positions count within the block (the one
before begins at -24, the one after at 24): rotary attention sees only differences, so the tables are
constants and no length is too long.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch.nn import functional

from tercet_engine.code2wav.feed_forward import build_linear_gelu
from tercet_engine.code2wav.modulation import LayerModulation, Modulation
from tercet_engine.code2wav.rows import Rows
from tercet_engine.code2wav.windows import BLOCK_FRAMES
from tercet_engine.decoder.linear import Linear, build_linear

NORM_EPS: Final = 1e-6


def place_linear(
    weight: torch.Tensor, bias: torch.Tensor, device: torch.device, dtype: torch.dtype
) -> Linear:
    return build_linear(weight.detach().to(device, dtype), bias.detach().to(device, dtype))


def join_qkv(attention: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of one product for queries, keys and values."""
    linears = (attention.to_q, attention.to_k, attention.to_v)
    weight = torch.cat([linear.weight.detach() for linear in linears])
    return weight, torch.cat([linear.bias.detach() for linear in linears])


def modulate(hidden: torch.Tensor, modulation: Modulation) -> torch.Tensor:
    """The layer norm whose weight and bias come from the time."""
    return functional.layer_norm(hidden, hidden.shape[-1:], modulation.scale, modulation.shift, NORM_EPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Keys and values around a window, before rotation, in one evaluation and look-back layer.

    `known` (windows with a past, c, 24, 2, heads, head dim): of the block before each such window;
    `kept`, of the same shape: where those of each window's last final block go.
    """

    known: torch.Tensor | None
    kept: torch.Tensor


class DitLayer:
    """`block` is transformers' DiTDecoderLayer; `rotations` comes from `build_rotations`."""

    def __init__(
        self, block: Any, rotations: torch.Tensor, heads: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        attention, mlp = block.attn, block.ff.ff
        place = partial(place_linear, device=device, dtype=dtype)
        self._qkv = place(*join_qkv(attention))
        self._out = place(attention.to_out[0].weight, attention.to_out[0].bias)
        self._up = build_linear_gelu(
            mlp[0].weight.detach().to(device, dtype), mlp[0].bias.detach().to(device, dtype)
        )
        self._down = place(mlp[3].weight, mlp[3].bias)
        self._heads = heads
        self._rotations = rotations
        self.looks_back = block.look_backward_block > 0
        self._looks_ahead = block.look_ahead_block > 0

    def __call__(
        self, hidden: torch.Tensor, modulation: LayerModulation, rows: Rows, past: Past | None
    ) -> torch.Tensor:
        """(c * rows, width, hidden) -> the same. `past` is given to layers that look back."""
        attended = self._attend(modulate(hidden, modulation.attention), rows, past)
        hidden = torch.addcmul(hidden, modulation.attention.gate, self._out(attended))
        inner = self._up(modulate(hidden, modulation.mlp))
        return torch.addcmul(hidden, modulation.mlp.gate, self._down(inner))

    def _attend(self, hidden: torch.Tensor, rows: Rows, past: Past | None) -> torch.Tensor:
        qkv = self._qkv(hidden).view(*hidden.shape[:2], 3, self._heads, -1)  # (c * rows, width, 3, heads, d)
        query, keys_values = qkv[:, :, 0], qkv[:, :, 1:]
        before = past is not None and rows.before is not None
        after = self._looks_ahead and rows.after is not None
        own = self._rotations[BLOCK_FRAMES : BLOCK_FRAMES + rows.width, None]
        if past is None and not after:
            rotate(qkv[:, :, :2, 0], own)
        else:
            keys_values = self._see_neighbours(keys_values, rows, past)
            start = 0 if before else BLOCK_FRAMES
            rotate(query[:, :, :1], own)
            rotate(keys_values[:, :, :1, 0], self._rotations[start : start + keys_values.shape[1], None])
        attended = functional.scaled_dot_product_attention(
            query.transpose(1, 2),
            keys_values[:, :, 0].transpose(1, 2),
            keys_values[:, :, 1].transpose(1, 2),
            attn_mask=rows.masks[before, after],
        )
        return attended.transpose(1, 2).flatten(2)

    def _see_neighbours(self, keys_values: torch.Tensor, rows: Rows, past: Past | None) -> torch.Tensor:
        if past is not None:
            keys_values = _look_back(keys_values, rows, past)
        return _look_ahead(keys_values, rows) if self._looks_ahead else keys_values


def _look_back(keys_values: torch.Tensor, rows: Rows, past: Past) -> torch.Tensor:
    """Put the block before in front of each row's own: (c * rows, 24 + width, 2, heads, d)."""
    passes = keys_values.view(2, rows.count, *keys_values.shape[1:])
    if len(rows.kept):
        past.kept.copy_(passes[:, rows.kept].transpose(0, 1))
    if rows.before is None:
        return keys_values
    candidates = passes if past.known is None else torch.cat([passes, past.known.transpose(0, 1)], 1)
    return torch.cat([candidates[:, rows.before].flatten(0, 1), keys_values], 1)


def _look_ahead(keys_values: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Put the block after behind each row's own. It takes the last 24 keys: they are the row's own."""
    if rows.after is None:
        return keys_values
    own = keys_values[:, -BLOCK_FRAMES:]
    passes = own.view(2, rows.count, *own.shape[1:])
    return torch.cat([keys_values, passes[:, rows.after].flatten(0, 1)], 1)


def build_rotations(rotary: Any, device: torch.device) -> torch.Tensor:
    """The rotations of positions -24 to 47 as complex numbers: (72, head dim / 2)."""
    positions = torch.arange(-BLOCK_FRAMES, 2 * BLOCK_FRAMES)
    angles = positions[:, None] * rotary.inv_freq.float()
    return torch.polar(torch.full_like(angles, rotary.attention_scaling), angles).to(device)


def rotate(heads: torch.Tensor, rotations: torch.Tensor) -> None:
    """In place: pairs of neighbouring values are complex numbers. Only the first head is rotated.

    `heads` (rows, width, n, d): the first of queries, of keys, or of both.
    """
    pairs = torch.view_as_complex(heads.float().view(*heads.shape[:-1], -1, 2)).mul_(rotations)
    if heads.dtype != torch.float32:
        heads.copy_(torch.view_as_real(pairs).flatten(-2))
