"""A decode step on a CPU: all layers as one program that torch's threads run.

Used by the decoder for steps of single rows only, in place of hundreds of operations of torch. A step's rows
lie where those of the step before lay, so the program is written once.
"""

from typing import Final

import torch

from tercet_engine.decoder import compiled
from tercet_engine.decoder.compiled_attention import build_job, compile_attention
from tercet_engine.decoder.compiled_product import CompiledProduct
from tercet_engine.decoder.kv import KVCache
from tercet_engine.decoder.layer import Layer
from tercet_engine.decoder.linear import Linear
from tercet_engine.decoder.paged import Pages
from tercet_engine.decoder.rotary import Rotary
from tercet_engine.decoder.shape import DecoderShape
from tercet_engine.decoder.team import Call, Program


class CompiledSteps:
    """Single precision; the cache has to be a paged one."""

    def __init__(
        self,
        layers: list[Layer],
        norm: torch.Tensor,
        rotary: Rotary,
        shape: DecoderShape,
        cache: KVCache,
        most: int,
    ) -> None:
        """`norm`: the final one. `most`: rows of a step."""
        if cache.tables is None:
            raise ValueError("compiled steps need a paged cache")
        script = _Script(most, shape)
        script.find_angles(rotary)
        for layer, memory in zip(layers, cache.memory, strict=True):
            script.add_norm(layer.norm_in)
            script.attend(layer, memory, cache.tables)
            script.add_norm(layer.norm_mlp)
            script.gate(layer)
        script.add_norm(norm)
        self._script = script
        self._program: Final = Program(script.calls)

    def run(self, rows: torch.Tensor, positions: torch.Tensor, pages: Pages) -> torch.Tensor:
        """(turns, hidden), (3, turns) -> (turns, hidden) after the final norm; keys and values are kept."""
        turns, script = len(rows), self._script
        script.rows[:turns] = rows
        script.positions[:, :turns] = positions
        script.pages.seats[:turns] = pages.seats
        script.pages.lengths[:turns] = pages.lengths
        self._program.run(turns)
        return script.normed[:turns].clone()


class _Script:
    """The calls of a step, and the memory through which they pass things on."""

    def __init__(self, most: int, shape: DecoderShape) -> None:
        self.calls: list[Call] = []
        self.rows = torch.zeros(most, shape.hidden)
        self.normed = torch.zeros(most, shape.hidden)
        self.positions = torch.zeros(3, most)
        seats, lengths = torch.zeros(2, most, dtype=torch.int32)
        self.pages = Pages(seats=seats, lengths=lengths)
        self._shape = shape
        self._attention = compile_attention(shape.heads // shape.kv_heads, shape.head_dim).address
        self._cos, self._sin = torch.zeros(2, most, shape.head_dim // 2)
        self._mixed = torch.zeros(most, shape.heads * shape.head_dim)
        self._more = torch.zeros(most, 0)
        self._memory: dict[str, torch.Tensor] = {}

    def find_angles(self, rotary: Rotary) -> None:
        sections, frequencies = rotary.sections, rotary.frequencies
        job = compiled.Angles(
            positions=self.positions.data_ptr(),
            room=self.positions.shape[1],
            sections=sections.data_ptr(),
            frequencies=frequencies.data_ptr(),
            half=len(frequencies),
            cos=self._cos.data_ptr(),
            sin=self._sin.data_ptr(),
        )
        self.calls.append(Call(compiled.find_angles.address, job, (sections, frequencies)))

    def add_norm(self, weight: torch.Tensor) -> None:
        """Of the rows, to which the block's product is added, if there was one."""
        job = compiled.Norm(
            rows=self.rows.data_ptr(),
            more=self._more.data_ptr(),
            step=self._more.stride(0),
            weight=weight.data_ptr(),
            normed=self.normed.data_ptr(),
            width=self._shape.hidden,
            epsilon=self._shape.epsilon,
        )
        self.calls.append(Call(compiled.norm.address, job, (weight,)))

    def attend(self, layer: Layer, memory: torch.Tensor, tables: torch.Tensor) -> None:
        fused = self._multiply("qkv", layer.qkv, self.normed)
        job = build_job(self._mixed, memory, tables, self.pages, fused.stride(0))
        job.fused, job.cos, job.sin = fused.data_ptr(), self._cos.data_ptr(), self._sin.data_ptr()
        self.calls.append(Call(self._attention, job, (memory, tables)))
        self._more = self._multiply("out", layer.out, self._mixed)

    def gate(self, layer: Layer) -> None:
        both = self._multiply("gate_up", layer.gate_up, self.normed)
        width = _compiled(layer.down).inputs
        gated = self._take("gated", width)
        job = compiled.Gate(fused=both.data_ptr(), step=both.stride(0), gated=gated.data_ptr(), width=width)
        self.calls.append(Call(compiled.gate.address, job))
        self._more = self._multiply("down", layer.down, gated)

    def _multiply(self, name: str, linear: Linear, source: torch.Tensor) -> torch.Tensor:
        product = _compiled(linear)
        target = self._take(name, product.width)
        self.calls += product.plan(source, target)
        return target

    def _take(self, name: str, width: int) -> torch.Tensor:
        """Memory that the layers share, one after the other."""
        if name not in self._memory:
            self._memory[name] = torch.zeros(len(self.rows), width)
        return self._memory[name]


def _compiled(linear: Linear) -> CompiledProduct:
    if not isinstance(linear, CompiledProduct):
        raise TypeError("compiled steps need compiled products")
    return linear
