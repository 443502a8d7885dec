"""The Qwen2 decoder of thinker and talker: ragged batches of rows over paged keys and values.

Called by the step loop once per step with the rows of every turn in the step, one after the other. It
knows nothing of turns, tokens or sampling: rows of embeddings go in, final hidden rows come out, and
`logits` is the head. On a GPU it runs plain linears and SDPA, which picks flash attention where it can; not
measured. Once `capture` was called, steps of single rows are CUDA graphs there, and compiled on a CPU.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from tercet_wire.settings import Quantization
from torch.nn import functional

from tercet_engine.decoder import paged
from tercet_engine.decoder.graphs import DecodeGraphs
from tercet_engine.decoder.kv import Group, KVCache, Layout
from tercet_engine.decoder.layer import Layer, build_layer
from tercet_engine.decoder.product import build_product
from tercet_engine.decoder.rotary import Rotary, rotate
from tercet_engine.decoder.shape import read_shape

if TYPE_CHECKING:
    from tercet_engine.decoder.compiled_step import CompiledSteps


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
        self._layers = [build_layer(weights, i, quantization) for i in range(self.shape.layers)]
        self._norm = weights["norm.weight"]
        self._head = build_product(head, quantization=quantization)
        self._rotary = Rotary(config, head.device)
        self._steps: DecodeGraphs | CompiledSteps | None = None

    def capture(self, cache: KVCache, most: int) -> None:
        """Make steps of up to `most` single rows fast ones; the cache has to be a paged one.

        Replays of CUDA graphs on a GPU, compiled on a CPU.
        """
        if cache.memory.device.type == "cpu":
            from tercet_engine.decoder.compiled_step import CompiledSteps  # noqa: PLC0415 - compiles

            self._steps = CompiledSteps(self._layers, self._norm, self._rotary, self.shape, cache, most)
            return

        def run(rows: torch.Tensor, positions: torch.Tensor, pages: paged.Pages) -> torch.Tensor:
            return self._run(rows, positions, Layout(slots=None, groups=(), pages=pages), cache)

        memory = cache.memory
        self._steps = DecodeGraphs(
            run, most=most, hidden=self.shape.hidden, device=memory.device, dtype=memory.dtype
        )

    def forward(
        self, rows: torch.Tensor, positions: torch.Tensor, layout: Layout, cache: KVCache
    ) -> torch.Tensor:
        """(rows, hidden), (3, rows) -> (rows, hidden) after the final norm; keys and values are kept.

        What is returned holds until the next call.
        """
        if self._steps is not None and layout.pages is not None and not layout.groups:
            hidden = self._steps.run(rows, positions, layout.pages)
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
        layer: Layer,
        rows: torch.Tensor,
        turns: tuple[torch.Tensor, torch.Tensor],
        reach: "_Reach",
        memory: torch.Tensor,
    ) -> torch.Tensor:
        shape = self.shape
        fused = layer.qkv(rows).view(len(rows), shape.heads + 2 * shape.kv_heads, shape.head_dim)
        rotate(fused[:, : shape.heads + shape.kv_heads], *turns)
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
