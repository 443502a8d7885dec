"""How many servers of each generation there should be now: pure arithmetic, one step at a time.

`plan` asks it with every look at the cluster. The servers themselves and `status.servingGenerations` are all
the state that a rollout has, so an edit, a revert or a restart of the operator in the middle is only another
look. The rules are those of docs/adr/0007-generations.md; the bounds on each kind of server are those of a
Deployment's rolling update.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tercet_operator.observed import Observed

Strategy = Literal["Surge", "InPlace", "BlueGreen"]
Counts = dict[str, int]
"""Servers by generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    replicas: Mapping[tuple[str, str], int]
    """By kind of server and generation, for all that are or should be there."""
    serving: tuple[str, ...]
    """Generations that new turns may go to, the current one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the spec asks for. `wanted`: replicas by kind, in the order of a turn."""

    strategy: Strategy
    current: str
    wanted: Mapping[str, int]

    @property
    def interrupts(self) -> bool:
        """Some kind has one place, which the old server must leave before the new one can come."""
        return self.strategy == "InPlace" and 1 in self.wanted.values()

    def most(self, kind: str) -> int:
        """Pods of all generations together."""
        wanted = self.wanted[kind]
        return {"Surge": wanted + 1, "InPlace": wanted, "BlueGreen": 2 * wanted}[self.strategy]

    def needed(self, kind: str) -> int:
        """Ready servers that a rollout leaves listeners with."""
        return max(0, self.wanted[kind] - (self.strategy == "InPlace"))


def plan_rollout(goal: Goal, observed: Observed, *, is_reached: bool = True) -> Rollout:
    """`is_reached`: gateways send turns to the current generation. Before that, old servers stay."""
    served = _find_served(goal, observed)
    return _Step(
        goal=goal,
        observed=observed,
        served=served,
        takes_over=goal.current in served or _can_take_over(goal, observed),
        is_reached=is_reached,
        olds=_order_olds(goal, observed, served),
    ).plan()


def is_complete(goal: Goal, observed: Observed, generation: str) -> bool:
    """A turn finds every stage there."""
    return all(observed.count_ready(kind, generation) for kind in goal.wanted)


def _find_served(goal: Goal, observed: Observed) -> set[str]:
    """Generations that turns may be going to; where no status says so, all that could be."""
    known = observed.generations() | {goal.current}
    said = observed.serving_generations()
    return (
        {each for each in known if is_complete(goal, observed, each)} if said is None else set(said) & known
    )


def _can_take_over(goal: Goal, observed: Observed) -> bool:
    if goal.strategy == "BlueGreen":
        ready = {kind: observed.count_ready(kind, goal.current) for kind in goal.wanted}
        return all(ready[kind] >= max(1, wanted) for kind, wanted in goal.wanted.items())
    return is_complete(goal, observed, goal.current)


def _order_olds(goal: Goal, observed: Observed, served: set[str]) -> list[str]:
    """First to go first: what serves no turns, then what serves least."""

    def worth(generation: str) -> tuple[bool, int, int, str]:
        ready = [observed.count_ready(kind, generation) for kind in goal.wanted]
        return (generation in served, min(ready), sum(ready), generation)

    return sorted(observed.generations() - {goal.current}, key=worth)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    goal: Goal
    observed: Observed
    served: set[str]
    takes_over: bool
    """The current generation serves turns, or may from now on."""
    is_reached: bool
    olds: list[str]
    """First to go first."""

    def plan(self) -> Rollout:
        left = {kind: self._plan_left(kind) for kind in self.goal.wanted}
        staying = [old for old in self.olds if old in self.served and self._stays(old, left)]
        replicas: dict[tuple[str, str], int] = {}
        for kind in self.goal.wanted:
            for old in self.olds:
                there = self.observed.replicas(kind, old)
                replicas[kind, old] = max(left[kind][old], min(there, self._floor(kind, old)))
            replicas[kind, self.goal.current] = self._plan_current(kind)
        serving = ([self.goal.current] if self.takes_over else []) + sorted(staying)
        return Rollout(replicas=replicas, serving=tuple(serving))

    def _plan_left(self, kind: str) -> Counts:
        """Old servers of a kind that may stay, as far as listeners and places go."""
        left = {old: self.observed.replicas(kind, old) if old in self.served else 0 for old in self.olds}
        if self.goal.strategy != "BlueGreen":
            removable = self._count_removable(kind, left)
            for old in self.olds:
                removed = min(left[old], removable)
                left[old] -= removed
                removable -= removed
        return left

    def _count_removable(self, kind: str, left: Counts) -> int:
        """Unready ones first, and ready ones only as far as as many as are needed stay."""
        current = self.observed.replicas(kind, self.goal.current)
        replaces = self.takes_over and self.is_reached
        available = self.observed.count_ready(kind, self.goal.current) if replaces else 0
        there = sum(left.values())
        ready = sum(min(count, self.observed.count_ready(kind, old)) for old, count in left.items())
        needed = self.goal.needed(kind)
        spare = max(0, ready + available - needed)
        return max(0, min(there - ready + spare, there + current - needed - (current - available)))

    def _stays(self, old: str, left: Mapping[str, Counts]) -> bool:
        """Whether an old generation goes on serving. Before the current one does, the best old one has to."""
        if self.goal.interrupts:
            return False
        if not self.takes_over or (self.goal.strategy == "BlueGreen" and not self.is_reached):
            return old == self.olds[-1]
        return self.goal.strategy != "BlueGreen" and any(left[kind][old] for kind in self.goal.wanted)

    def _floor(self, kind: str, old: str) -> int:
        """One stays while turns may still come: from gateways, or from a kind before it in a turn."""
        kinds = list(self.goal.wanted)
        earlier = (self.observed.pods_of(before, old) for before in kinds[: kinds.index(kind)])
        return int(old in self.served or any(pod.ready for pods in earlier for pod in pods))

    def _plan_current(self, kind: str) -> int:
        """As many as there are places; never fewer than are there, unless fewer are wanted."""
        current = self.goal.current
        leaving = sum(pod.leaving for pod in self.observed.pods_of(kind, current))
        taken = leaving + sum(self.observed.count(kind, old) for old in self.olds)
        places = self.goal.most(kind) - taken
        return min(self.goal.wanted[kind], max(places, self.observed.replicas(kind, current)))
