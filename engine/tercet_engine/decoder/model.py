"""The Qwen2 decoder of thinker and talker: ragged batches of rows over paged keys and values.

Called by the step loop once per step with the rows of every turn in the step, one after the other. It
knows nothing of turns, tokens or sampling: rows of embeddings go in, final hidden rows come out, and
`logits` is the head. On a GPU it runs plain linears and SDPA, which picks flash attention where it can, and
steps of single rows as CUDA graphs once `capture` was called; not measured.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from tercet_wire.settings import Quantization
from torch.nn import functional

from tercet_engine.decoder import paged
from tercet_engine.decoder.graphs import DecodeGraphs
from tercet_engine.decoder.kv import Group, KVCache, Layout
from tercet_engine.decoder.linear import Linear, build_linear
from tercet_engine.decoder.shape import read_shape

_SECTIONS: Final = (16, 24, 24)
"""Of `mrope_section`, where a config leaves it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear
    norm_in: torch.Tensor
    norm_mlp: torch.Tensor


class Decoder:
    """`weights` are named as in the checkpoint (`layers.0.self_attn.q_proj.weight`, `norm.weight`).

    The layers' are taken out of it one by one, so that only one layer is ever held both apart and fused.
    """

    def __init__(
        self,
        config: Any,
        weights: dict[str, torch.Tensor],
        head: torch.Tensor,
        quantization: Quantization = "none",
    ) -> None:
        self.shape = read_shape(config)
        self._layers = [_build_layer(weights, i, quantization) for i in range(self.shape.layers)]
        self._norm = weights["norm.weight"]
        self._head = build_linear(head, quantization=quantization)
        self._rotary = _Rotary(config, head.device)
        self._graphs: DecodeGraphs | None = None

    def capture(self, cache: KVCache, most: int) -> None:
        """Make steps of up to `most` single rows replays of CUDA graphs; the cache has to be a paged one."""

        def run(rows: torch.Tensor, positions: torch.Tensor, pages: paged.Pages) -> torch.Tensor:
            return self._run(rows, positions, Layout(slots=None, groups=(), pages=pages), cache)

        memory = cache.memory
        self._graphs = DecodeGraphs(
            run, most=most, hidden=self.shape.hidden, device=memory.device, dtype=memory.dtype
        )

    def forward(
        self, rows: torch.Tensor, positions: torch.Tensor, layout: Layout, cache: KVCache
    ) -> torch.Tensor:
        """(rows, hidden), (3, rows) -> (rows, hidden) after the final norm; keys and values are kept.

        What is returned holds until the next call.
        """
        if self._graphs is not None and layout.pages is not None and not layout.groups:
            hidden = self._graphs.replay(rows, positions, layout.pages)
            if hidden is not None:
                return hidden
        return self._run(rows, positions, layout, cache)

    def _run(
        self, rows: torch.Tensor, positions: torch.Tensor, layout: Layout, cache: KVCache
    ) -> torch.Tensor:
        turns = self._rotary.angles(positions, rows.dtype)
        reach = _Reach.of(layout, cache)
        for layer, memory in zip(self._layers, cache.memory, strict=True):
            mixed = self._attend(layer, self._normed(rows, layer.norm_in), turns, reach, memory)
            rows = rows + mixed
            gate, up = layer.gate_up(self._normed(rows, layer.norm_mlp)).chunk(2, -1)
            rows = rows + layer.down(functional.silu(gate).mul_(up))
        return self._normed(rows, self._norm)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._head(hidden).float()

    def _normed(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(rows, (rows.shape[-1],), weight, self.shape.epsilon)

    def _attend(
        self,
        layer: _Layer,
        rows: torch.Tensor,
        turns: tuple[torch.Tensor, torch.Tensor],
        reach: "_Reach",
        memory: torch.Tensor,
    ) -> torch.Tensor:
        shape = self.shape
        fused = layer.qkv(rows).view(len(rows), shape.heads + 2 * shape.kv_heads, shape.head_dim)
        _rotate(fused[:, : shape.heads + shape.kv_heads], *turns)
        memory.flatten(0, 1).index_copy_(0, reach.slots, fused[:, shape.heads :])
        queries = fused[:, : shape.heads]  # (rows, heads, head_dim)
        mixed = [self._attend_group(queries, group, memory) for group in reach.groups]
        if reach.pages is not None and reach.tables is not None:
            singles = queries[: len(reach.pages.seats)]
            mixed.insert(0, paged.attend(singles, memory, reach.tables, reach.pages).flatten(1))
        return layer.out(mixed[0] if len(mixed) == 1 else torch.cat(mixed))

    def _attend_group(self, queries: torch.Tensor, group: Group, memory: torch.Tensor) -> torch.Tensor:
        """Query heads that share a key head stand as further queries, so that no key is copied for them."""
        turns, count, heads = group.turns, group.queries, self.shape.kv_heads
        shared = self.shape.heads // heads
        rows = queries[group.first : group.first + turns * count]
        query = rows.view(turns, count, heads, shared, -1).permute(
            0, 2, 3, 1, 4
        )  # (turns, heads, shared, count, d)
        kept = memory.index_select(0, group.blocks).view(turns, -1, 2 * heads, self.shape.head_dim)
        kept = kept[:, : group.keys].transpose(1, 2)  # (turns, 2 * heads, keys, d)
        key, value = kept[:, :heads], kept[:, heads:]
        if count > 1 and group.mask is None:
            mixed = functional.scaled_dot_product_attention(
                query.flatten(1, 2), key, value, is_causal=True, enable_gqa=shared > 1
            ).view(query.shape)
        else:
            mixed = functional.scaled_dot_product_attention(
                query.flatten(2, 3), key, value, attn_mask=group.mask
            ).view(query.shape)
        return mixed.permute(0, 3, 1, 2, 4).reshape(turns * count, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reach:
    """A layout with all that a layer needs of it: where rows are written, and where their keys are."""

    slots: torch.Tensor
    groups: tuple[Group, ...]
    pages: paged.Pages | None
    tables: torch.Tensor | None

    @classmethod
    def of(cls, layout: Layout, cache: KVCache) -> "_Reach":
        slots = layout.slots
        if slots is None:
            if layout.pages is None or cache.tables is None:
                raise ValueError("a layout without slots needs pages, and a paged cache")
            slots = paged.locate(layout.pages, cache.tables, cache.block_tokens)
        return cls(slots=slots, groups=layout.groups, pages=layout.pages, tables=cache.tables)


class _Rotary:
    """Multimodal rotary angles: each section of dimensions follows one of the three position rows."""

    def __init__(self, config: Any, device: torch.device) -> None:
        rope = config.rope_parameters
        if rope["rope_type"] != "default":
            raise ValueError(f"rope_type {rope['rope_type']!r} is not served, only 'default'")
        dim = read_shape(config).head_dim
        exponents = torch.arange(0, dim, 2, dtype=torch.float32) / dim
        self._frequencies = (1.0 / rope["rope_theta"] ** exponents).to(device)  # (dim / 2,)
        sections = [i % 3 for i, size in enumerate(rope.get("mrope_section", _SECTIONS)) for _ in range(size)]
        self._sections = torch.tensor(sections, device=device)

    def angles(self, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines, and sines with the sign of the rotation, (rows, 1, head_dim)."""
        angle = positions[self._sections].T.float() * self._frequencies
        cos, sin = angle.cos(), angle.sin()
        cos, sin = torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)
        return cos.to(dtype)[:, None], sin.to(dtype)[:, None]


def _rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """Rotate (rows, heads, head_dim) in place."""
    halves = heads.view(*heads.shape[:-1], 2, -1)
    swapped = halves.flip(-2).view(heads.shape)
    heads.mul_(cos).addcmul_(swapped, sin)


def _build_layer(weights: dict[str, torch.Tensor], index: int, quantization: Quantization) -> _Layer:
    build = partial(build_linear, quantization=quantization)

    def taken(name: str) -> torch.Tensor:
        return weights.pop(f"layers.{index}.{name}")

    def stacked(kind: str, names: Iterable[str]) -> torch.Tensor:
        return torch.cat([taken(f"{name}_proj.{kind}") for name in names])

    attention = [f"self_attn.{name}" for name in "qkv"]
    return _Layer(
        qkv=build(stacked("weight", attention), stacked("bias", attention)),
        out=build(stacked("weight", ["self_attn.o"])),
        gate_up=build(stacked("weight", ["mlp.gate", "mlp.up"])),
        down=build(stacked("weight", ["mlp.down"])),
        norm_in=taken("input_layernorm.weight"),
        norm_mlp=taken("post_attention_layernorm.weight"),
    )
