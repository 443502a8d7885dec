"""What the time of an evaluation does to the DiT: its norms' scales and shifts and its gates.

The solver's times are fixed, so `dit` works all of them out once per schedule and never again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tercet_wire.settings import Solver

from tercet_engine.code2wav.schedule import Schedule, build_schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Modulation:
    """Weight and bias of a layer norm, and the gate of what follows it: (hidden,) each."""

    scale: torch.Tensor
    shift: torch.Tensor
    gate: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerModulation:
    attention: Modulation
    mlp: Modulation


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A schedule and, for each of its evaluations, what it does to each layer and to the output norm.

    `table` (evaluations, vectors, hidden) holds them all: of a layer six, a scale, a shift and a gate for its
    attention and as many for its MLP, and at the end a scale and a shift for the output norm.
    """

    schedule: Schedule
    table: torch.Tensor
    layers: tuple[tuple[LayerModulation, ...], ...]  # [evaluation][layer]
    out: tuple[Modulation, ...]  # [evaluation]; its gate is one


class TimelineBuilder:
    """Holds the DiT's time embedding and AdaLN weights, on the CPU, and nothing else of the DiT."""

    def __init__(self, net: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._embed = net.time_embed
        self._norms = [block.attn_norm.linear for block in net.transformer_blocks]
        self._out_norm = net.norm_out.linear
        self._device, self._dtype = device, dtype

    @torch.inference_mode()
    def __call__(self, solver: Solver, points: int) -> Timeline:
        schedule = build_schedule(solver, points)
        embedded = torch.nn.functional.silu(self._embed(schedule.times))
        given = [*(norm(embedded) for norm in self._norms), self._out_norm(embedded)]
        count, hidden = embedded.shape
        given = [modulations.to(self._device, self._dtype).view(count, -1, hidden) for modulations in given]
        *layers, (scale, shift) = [each.unbind(1) for each in given]
        ordered = [
            vector
            for shift_in, scale_in, gate_in, shift_mlp, scale_mlp, gate_mlp in layers
            for vector in (1 + scale_in, shift_in, gate_in, 1 + scale_mlp, shift_mlp, gate_mlp)
        ]
        table = torch.stack([*ordered, 1 + scale, shift], 1)
        gate = torch.ones_like(scale[0])
        return Timeline(
            schedule=schedule,
            table=table,
            layers=tuple(tuple(self._split(vectors[:-2])) for vectors in table),
            out=tuple(Modulation(scale=row[-2], shift=row[-1], gate=gate) for row in table),
        )

    def _split(self, vectors: torch.Tensor) -> Iterator[LayerModulation]:
        """(6 * layers, hidden) of an evaluation, by layer."""
        for six in torch.split(vectors, 6):
            attention, mlp = (
                Modulation(scale=three[0], shift=three[1], gate=three[2]) for three in torch.split(six, 3)
            )
            yield LayerModulation(attention=attention, mlp=mlp)
