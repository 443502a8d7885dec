"""Which replicas may take a turn: tables."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from tercet_gateway.stages.choosing import list_open_generations, rank_followers, rank_openers
from tercet_wire.names import Stage

ALL = frozenset(Stage)


@dataclass(frozen=True)
class Fake:
    """`name` tells replicas apart; `turns` is the whole of its rank."""

    name: str
    generation: str
    stage: Stage
    is_ready: bool = True
    turns: int = 0
    rests: bool = False

    def rank(self, now_s: float) -> tuple[bool, int, int]:
        return (self.rests, self.turns, 0)


def names(replicas: Iterable[Fake]) -> list[str]:
    return [replica.name for replica in replicas]


def full(generation: str, *, without: Stage | None = None, unready: Stage | None = None) -> list[Fake]:
    return [
        Fake(f"{generation}-{stage}", generation, stage, is_ready=stage is not unready)
        for stage in Stage
        if stage is not without
    ]


OPEN: dict[str, tuple[list[Fake], set[str], set[str]]] = {
    "no status yet: any complete generation": (full("a") + full("b"), set(), {"a", "b"}),
    "no status yet: not an incomplete one": (full("a", without=Stage.TALKER), set(), set()),
    "only what is serving": (full("a") + full("b"), {"b"}, {"b"}),
    "two may serve at once": (full("a") + full("b"), {"a", "b"}, {"a", "b"}),
    "serving but a stage is missing": (full("a") + full("b", without=Stage.CODE2WAV), {"b"}, set()),
    "serving but a stage is about to go": (full("a", unready=Stage.THINKER), {"a"}, set()),
    "serving but not here": (full("a"), {"b"}, set()),
    "stages of two generations make none": (
        full("a", without=Stage.TALKER) + full("b", without=Stage.THINKER),
        {"a", "b"},
        set(),
    ),
    "nothing there": ([], set(), set()),
}


@pytest.mark.parametrize("case", OPEN)
def test_turns_begin_on_complete_serving_generations(case: str) -> None:
    """A generation needs a ready replica of every stage, and the operator's word if there is one."""
    replicas, serving, expected = OPEN[case]
    assert list_open_generations(replicas, serving, ALL) == expected


def test_deployment_without_speech_needs_only_its_own_stages() -> None:
    """A settings file may name thinkers alone; then text turns can begin."""
    thinkers = [Fake("t", "", Stage.THINKER)]
    assert list_open_generations(thinkers, (), frozenset({Stage.THINKER})) == {""}


def test_thinker_is_chosen_over_all_open_generations() -> None:
    """The least loaded opens the turn, whatever its generation; closed generations and others have no say."""
    replicas = [
        Fake("busy", "a", Stage.THINKER, turns=3),
        Fake("free", "b", Stage.THINKER, turns=1),
        Fake("resting", "b", Stage.THINKER, rests=True),
        Fake("closed", "c", Stage.THINKER),
        Fake("going", "a", Stage.THINKER, is_ready=False),
        Fake("talker", "a", Stage.TALKER),
    ]
    assert names(rank_openers(replicas, {"a", "b"}, 0.0)) == ["free", "busy", "resting"]


def test_later_stages_stay_in_the_turns_generation() -> None:
    """Ready replicas first, even resting ones; then those that still serve while they go."""
    replicas = [
        Fake("going", "a", Stage.TALKER, is_ready=False),
        Fake("busy", "a", Stage.TALKER, turns=2),
        Fake("free", "a", Stage.TALKER, turns=1),
        Fake("resting", "a", Stage.TALKER, rests=True),
        Fake("newer", "b", Stage.TALKER),
        Fake("thinker", "a", Stage.THINKER),
    ]
    assert names(rank_followers(replicas, Stage.TALKER, "a", 0.0)) == ["free", "busy", "resting", "going"]
