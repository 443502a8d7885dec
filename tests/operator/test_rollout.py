"""Rollouts as simulations: a cluster that obeys the pure plan, where some servers start and some never do."""

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice

import pytest
from tercet_operator.observed import Observed, Pod, Server
from tercet_operator.rollout import Goal, Rollout, Strategy, plan_rollout

STAGES = ("thinker", "talker", "code2wav")
STRATEGIES: tuple[Strategy, ...] = ("Surge", "InPlace", "BlueGreen")


@dataclass(slots=True, kw_only=True)
class SimulatedPod:
    kind: str
    generation: str
    ready: bool = False
    leaves_in: int | None = None
    """Steps until it is gone; None: it stays."""

    def stays_at(self, place: tuple[str, str]) -> bool:
        return (self.kind, self.generation) == place and self.leaves_in is None


@dataclass(slots=True, kw_only=True)
class Cluster:
    """Obeys a plan as Deployments do. `broken`: generations whose pods never get ready."""

    replicas: Counter[tuple[str, str]] = field(default_factory=Counter)
    pods: list[SimulatedPod] = field(default_factory=list)
    serving: tuple[str, ...] | None = None
    broken: set[str] = field(default_factory=set)
    drain_steps: int = 2

    def observe(self) -> Observed:
        return Observed(
            children={},
            servers=tuple(
                Server(kind=kind, generation=generation, replicas=count)
                for (kind, generation), count in self.replicas.items()
            ),
            pods=tuple(
                Pod(
                    name=str(number),
                    kind=pod.kind,
                    generation=pod.generation,
                    ready=pod.ready,
                    leaving=pod.leaves_in is not None,
                    fetched=True,
                )
                for number, pod in enumerate(self.pods)
            ),
            status={} if self.serving is None else {"servingGenerations": list(self.serving)},
        )

    def obey(self, plan: Rollout) -> None:
        self.serving = plan.serving
        for place, count in plan.replicas.items():
            self.replicas[place] = count
            staying = [pod for pod in self.pods if pod.stays_at(place)]
            for pod in sorted(staying, key=lambda pod: pod.ready)[: max(0, len(staying) - count)]:
                pod.leaves_in = self.drain_steps if pod.ready else 0
            missing = count - len(staying)
            self.pods += [SimulatedPod(kind=place[0], generation=place[1]) for _ in range(missing)]

    def pass_time(self, starting: int = 1) -> None:
        """A server or more gets ready, draining ones come nearer to their end, what is empty is deleted."""
        self.pods = [pod for pod in self.pods if pod.leaves_in != 0]
        for pod in self.pods:
            if pod.leaves_in is not None:
                pod.leaves_in -= 1
        able = (pod for pod in self.pods if not pod.ready and pod.generation not in self.broken)
        for pod in islice((pod for pod in able if pod.leaves_in is None), starting):
            pod.ready = True
        for place in [place for place, count in self.replicas.items() if count == 0]:
            if not self.count(*place):
                del self.replicas[place]

    def count(self, kind: str, generation: str | None = None, *, ready: bool = False) -> int:
        return sum(
            pod.kind == kind
            and generation in {None, pod.generation}
            and (not ready or (pod.ready and pod.leaves_in is None))
            for pod in self.pods
        )

    def can_serve(self, goal: Goal) -> bool:
        return any(
            all(self.count(kind, generation, ready=True) for kind in goal.wanted)
            for generation in self.serving or ()
        )


def start(goal: Goal) -> Cluster:
    """A cluster where the goal's generation serves in full."""
    cluster = Cluster()
    settle(cluster, goal)
    return cluster


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_old_servers_stay_until_gateways_reach_the_new_ones(strategy: Strategy) -> None:
    """However long that takes; then they go."""
    wanted = dict.fromkeys(STAGES, 2)
    first, second = (Goal(strategy=strategy, current=name, wanted=wanted) for name in "AB")
    cluster = start(first)
    for _ in range(60):
        cluster.obey(plan_rollout(second, cluster.observe(), is_reached=False))
        cluster.pass_time()
        assert "A" in (cluster.serving or ())
        assert all(cluster.count(kind, "A", ready=True) >= second.needed(kind) for kind in STAGES)
    assert cluster.serving == ("B", "A"), "both may be reached"
    settle(cluster, second)


def settle(cluster: Cluster, goal: Goal, *, steps: int = 200) -> None:
    for _ in range(steps):
        check(cluster, goal, plan_rollout(goal, cluster.observe()))
        cluster.pass_time()
    assert {generation for _, generation in cluster.replicas} == {goal.current}
    assert cluster.serving == (goal.current,)
    for kind, wanted in goal.wanted.items():
        assert cluster.count(kind, goal.current, ready=True) == cluster.count(kind) == wanted


def check(cluster: Cluster, goal: Goal, plan: Rollout) -> None:
    """Obey a plan, and look whether it keeps what a strategy promises."""
    could_serve = cluster.can_serve(goal)
    cluster.obey(plan)
    for kind in goal.wanted:
        assert cluster.count(kind) <= goal.most(kind), "more pods than the strategy has places for"
    if could_serve and not goal.interrupts:
        assert cluster.can_serve(goal), "turns found a generation before this step and find none after it"


def goals(strategy: Strategy, current: str, replicas: tuple[int, ...]) -> Goal:
    return Goal(strategy=strategy, current=current, wanted=dict(zip(STAGES, replicas, strict=False)))


REPLICAS = [(1, 1, 1), (2, 2, 2), (1, 2, 3), (3, 1, 1), (4, 4, 4), (2,)]


@pytest.mark.parametrize("replicas", REPLICAS, ids=str)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_change_replaces_every_server(strategy: Strategy, replicas: tuple[int, ...]) -> None:
    """Within the strategy's places, and, but for InPlace with one replica, with a stage always there."""
    cluster = start(goals(strategy, "a", replicas))
    settle(cluster, goals(strategy, "b", replicas))


@pytest.mark.parametrize("replicas", REPLICAS, ids=str)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("after", range(12))
def test_an_edit_during_a_rollout_adds_no_damage(
    strategy: Strategy, replicas: tuple[int, ...], after: int
) -> None:
    """At whatever step the third generation comes."""
    cluster = start(goals(strategy, "a", replicas))
    second = goals(strategy, "b", replicas)
    for _ in range(after):
        check(cluster, second, plan_rollout(second, cluster.observe()))
        cluster.pass_time()
    settle(cluster, goals(strategy, "c", replicas))


@pytest.mark.parametrize("replicas", REPLICAS, ids=str)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("after", range(12))
def test_a_revert_goes_straight_back(strategy: Strategy, replicas: tuple[int, ...], after: int) -> None:
    """Servers that are still there are kept, and no third set is made."""
    first, second = goals(strategy, "a", replicas), goals(strategy, "b", replicas)
    cluster = start(first)
    for _ in range(after):
        check(cluster, second, plan_rollout(second, cluster.observe()))
        cluster.pass_time()
    kept = {kind: cluster.replicas[kind, "a"] for kind in first.wanted}
    plan = plan_rollout(first, cluster.observe())
    assert all(plan.replicas[kind, "a"] >= count for kind, count in kept.items())
    settle(cluster, first)


@pytest.mark.parametrize("replicas", REPLICAS, ids=str)
@pytest.mark.parametrize("strategy", ["Surge", "BlueGreen"])
def test_a_generation_that_never_starts_takes_nothing_away(
    strategy: Strategy, replicas: tuple[int, ...]
) -> None:
    """However long it tries; the next edit replaces it."""
    cluster = start(goals(strategy, "a", replicas))
    cluster.broken = {"b"}
    broken = goals(strategy, "b", replicas)
    for _ in range(50):
        check(cluster, broken, plan_rollout(broken, cluster.observe()))
        cluster.pass_time()
    for kind, wanted in broken.wanted.items():
        assert cluster.count(kind, "a", ready=True) == wanted
    settle(cluster, goals(strategy, "c", replicas))


def test_in_place_with_two_loses_no_more_than_one_of_each_kind() -> None:
    """Also when the new generation never starts."""
    cluster = start(goals("InPlace", "a", (2, 2, 2)))
    cluster.broken = {"b"}
    broken = goals("InPlace", "b", (2, 2, 2))
    for _ in range(50):
        check(cluster, broken, plan_rollout(broken, cluster.observe()))
        cluster.pass_time()
    assert [cluster.count(kind, "a", ready=True) for kind in STAGES] == [1, 1, 1]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_old_generation_is_emptied_in_the_order_of_a_turn(strategy: Strategy) -> None:
    """A talker stays while a thinker of its generation may still send to it, code2wav while a talker may."""
    cluster = start(goals(strategy, "a", (1, 1, 1)))
    cluster.drain_steps = 6
    goal = goals(strategy, "b", (1, 1, 1))
    for _ in range(60):
        cluster.obey(plan_rollout(goal, cluster.observe()))
        there = [cluster.count(kind, "a") for kind in STAGES]
        staying = [cluster.count(kind, "a", ready=True) for kind in STAGES]
        for before, kind in zip(there, staying[1:], strict=False):
            assert kind or not before, (there, staying)
        cluster.pass_time(starting=3)
    assert there == [0, 0, 0]


def test_a_server_that_dies_during_a_rollout_is_not_taken_as_a_reason_to_remove_its_generation() -> None:
    """The old talker restarts while the new one is not ready: it stays, and serves again."""
    cluster = start(goals("Surge", "a", (1, 1, 1)))
    cluster.broken = {"b"}
    goal = goals("Surge", "b", (1, 1, 1))
    for _ in range(5):
        cluster.obey(plan_rollout(goal, cluster.observe()))
        cluster.pass_time()
    (talker,) = (pod for pod in cluster.pods if (pod.kind, pod.generation) == ("talker", "a"))
    talker.ready = False
    cluster.obey(plan_rollout(goal, cluster.observe()))
    assert talker.leaves_in is None
    assert cluster.serving == ("a",)


@pytest.mark.parametrize("wanted", [0, 1, 5])
def test_scaling_moves_within_the_generation(wanted: int) -> None:
    """No new generation, no detour."""
    cluster = start(goals("Surge", "a", (2, 2, 2)))
    plan = plan_rollout(goals("Surge", "a", (2, wanted, 2)), cluster.observe())
    assert plan.replicas["talker", "a"] == wanted


def test_a_lost_status_interrupts_nothing() -> None:
    """What serves is then seen from what is there."""
    cluster = start(goals("Surge", "a", (1, 1, 1)))
    cluster.serving = None
    plan = plan_rollout(goals("Surge", "b", (1, 1, 1)), cluster.observe())
    assert plan.serving == ("a",)
    assert all(plan.replicas[kind, "a"] == 1 for kind in STAGES)


def test_the_same_look_gives_the_same_plan() -> None:
    """And a goal that is reached asks for nothing else."""
    goal = goals("Surge", "a", (2, 1, 1))
    cluster = start(goal)
    plan = plan_rollout(goal, cluster.observe())
    assert plan == plan_rollout(replace(goal), cluster.observe())
    assert plan.replicas == dict(cluster.replicas)
