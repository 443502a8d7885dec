"""The solver's time grid, and the integration along it.

`dit` builds a Schedule per (solver, points) and integrates with it. The grid is the reference's: evenly
spaced points, swayed towards the beginning, where the velocity changes most. A solver is data, an explicit
Runge-Kutta tableau, so that the network sees only numbered evaluations at times known in advance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from tercet_wire.settings import Solver

SWAY: Final = -1.0

Velocity = Callable[[int, torch.Tensor], torch.Tensor]
"""(number of the evaluation, state) -> d state / d time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tableau:
    """An explicit Runge-Kutta method: `nodes` (stages), `mixing` (a row per stage), `weights` (stages)."""

    nodes: tuple[float, ...]
    mixing: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


TABLEAUS: Final[dict[Solver, Tableau]] = {
    "euler": Tableau(nodes=(0,), mixing=((),), weights=(1,)),
    "midpoint": Tableau(nodes=(0, 1 / 2), mixing=((), (1 / 2,)), weights=(0, 1)),
    # The 3/8 rule, as the reference.
    "rk4": Tableau(
        nodes=(0, 1 / 3, 2 / 3, 1),
        mixing=((), (1 / 3,), (-1 / 3, 1), (1, -1, 1)),
        weights=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """`times` (evaluations): where the velocity is asked for, in order; `widths`: of the steps."""

    tableau: Tableau
    widths: tuple[float, ...]
    times: torch.Tensor

    @property
    def evaluations(self) -> int:
        return len(self.times)


def build_schedule(solver: Solver, points: int) -> Schedule:
    tableau = TABLEAUS[solver]
    even = torch.linspace(0, 1, points)
    grid = even + SWAY * (torch.cos(torch.pi / 2 * even) - 1 + even)
    widths = grid[1:] - grid[:-1]
    times = grid[:-1, None] + widths[:, None] * torch.tensor(tableau.nodes)  # (steps, stages)
    return Schedule(tableau=tableau, widths=tuple(widths.tolist()), times=times.flatten())


def integrate(schedule: Schedule, velocity: Velocity, state: torch.Tensor) -> torch.Tensor:
    """Follow `velocity` from time 0 to 1."""
    evaluation = 0
    for width in schedule.widths:
        slopes: list[torch.Tensor] = []
        for row in schedule.tableau.mixing:
            slopes.append(velocity(evaluation, _step(state, slopes, row, width)))
            evaluation += 1
        state = _step(state, slopes, schedule.tableau.weights, width)
    return state


def _step(
    state: torch.Tensor, slopes: list[torch.Tensor], weights: tuple[float, ...], width: float
) -> torch.Tensor:
    for slope, weight in zip(slopes, weights, strict=True):
        if weight:
            state = torch.add(state, slope, alpha=weight * width)
    return state
