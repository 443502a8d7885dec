"""What the time of an evaluation does to the DiT: its norms' scales and shifts and its gates.

The solver's times are fixed, so `dit` works all of them out once per schedule and never again.
"""

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
    """A schedule and, for each of its evaluations, what it does to each layer and to the output norm."""

    schedule: Schedule
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
        by_layer = [self._split(norm(embedded)) for norm in self._norms]
        scales, shifts = self._place(self._out_norm(embedded)).chunk(2, -1)
        gate = torch.ones_like(scales[0])
        return Timeline(
            schedule=schedule,
            layers=tuple(zip(*by_layer, strict=True)),
            out=tuple(
                Modulation(scale=1 + scale, shift=shift, gate=gate)
                for scale, shift in zip(scales, shifts, strict=True)
            ),
        )

    def _split(self, modulations: torch.Tensor) -> list[LayerModulation]:
        """(evaluations, 6 * hidden) of one layer, apart."""
        return [
            LayerModulation(
                attention=Modulation(shift=row[0], scale=1 + row[1], gate=row[2]),
                mlp=Modulation(shift=row[3], scale=1 + row[4], gate=row[5]),
            )
            for row in self._place(modulations).view(len(modulations), 6, -1)
        ]

    def _place(self, modulations: torch.Tensor) -> torch.Tensor:
        return modulations.to(self._device, self._dtype)
