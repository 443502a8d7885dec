"""A decode step on a CPU: products by oneDNN, and what is between them compiled.

Used by the decoder for steps of single rows only, in place of more than a hundred operations of torch.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

from tercet_engine.decoder import compiled, compiled_attention
from tercet_engine.decoder.kv import KVCache
from tercet_engine.decoder.layer import Layer
from tercet_engine.decoder.paged import Pages
from tercet_engine.decoder.rotary import Rotary
from tercet_engine.decoder.shape import DecoderShape
from tercet_engine.decoder.team import run_on_team

_Array = np.ndarray[Any, np.dtype[np.float32]]


class _Layer(NamedTuple):
    """A layer as compiled code takes it."""

    products: Layer
    memory: int
    """The address of its keys and values."""
    norm_mlp: _Array
    norm_next: _Array
    """Of the layer after it, or the final one."""


class CompiledSteps:
    """Single precision; the cache has to be a paged one."""

    def __init__(
        self,
        layers: list[Layer],
        norm: torch.Tensor,
        rotary: Rotary,
        shape: DecoderShape,
        cache: KVCache,
    ) -> None:
        """`norm`: the final one."""
        if cache.tables is None:
            raise ValueError("compiled steps need a paged cache")
        following = [*(layer.norm_in for layer in layers[1:]), norm]
        self._layers = [
            _Layer(layer, memory.data_ptr(), layer.norm_mlp.numpy(), after.numpy())
            for layer, memory, after in zip(layers, cache.memory, following, strict=True)
        ]
        self._norm_first = layers[0].norm_in.numpy()
        self._shape = shape
        self._sections, self._frequencies = rotary.sections.numpy(), rotary.frequencies.numpy()
        self._attention = compiled_attention.compile_attention(shape.heads // shape.kv_heads, shape.head_dim)
        self._row = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
        self._memory, self._tables = cache.memory, cache.tables

    def run(self, rows: torch.Tensor, positions: torch.Tensor, pages: Pages) -> torch.Tensor:
        """(turns, hidden), (3, turns) -> (turns, hidden) after the final norm; keys and values are kept."""
        epsilon = self._shape.epsilon
        cos, sin = self._find_angles(positions)
        mixed = rows.new_empty(len(rows), self._shape.heads * self._shape.head_dim)
        job = compiled_attention.build_job(mixed, self._memory[0], self._tables, pages, self._row)
        job.cos, job.sin = cos.ctypes.data, sin.ctypes.data
        residual = rows.clone(memory_format=torch.contiguous_format)
        normed = torch.empty_like(residual)
        sums, norms = residual.numpy(), normed.numpy()  # the same memory, for compiled code
        compiled.norm(sums, self._norm_first, epsilon, norms)
        for products, memory, norm_mlp, norm_next in self._layers:
            fused = products.qkv(normed)
            job.fused, job.memory = fused.data_ptr(), memory
            run_on_team(self._attention.address, job)
            compiled.add_norm(sums, products.out(mixed).numpy(), norm_mlp, epsilon, norms)
            both = products.gate_up(normed)
            gated = both.new_empty(len(both), both.shape[1] // 2)
            compiled.gate(both.numpy(), gated.numpy())
            compiled.add_norm(sums, products.down(gated).numpy(), norm_next, epsilon, norms)
        return normed

    def _find_angles(self, positions: torch.Tensor) -> tuple[_Array, _Array]:
        cos, sin = np.empty((2, positions.shape[1], len(self._frequencies)), np.float32)
        places = positions.float().contiguous().numpy()
        compiled.find_angles(places, self._sections, self._frequencies, cos, sin)
        return cos, sin
