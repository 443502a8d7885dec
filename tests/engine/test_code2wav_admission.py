"""Who may be played beside the others, as tables: no torch, no clock."""

import pytest
from tercet_engine.code2wav.admission import StepCost, can_join, find_load


def learn(*steps: tuple[int, float], times: int = 50) -> StepCost:
    """The cost after these steps, (blocks, seconds) each, over and over."""
    cost = StepCost()
    for _ in range(times):
        for blocks, seconds in steps:
            cost.observe(blocks, seconds)
    return cost


@pytest.mark.parametrize(
    ("steps", "blocks", "seconds"),
    [
        ((), 2, 0.0),
        (((1, 0.06),), 1, 0.06),
        (((1, 0.06),), 2, 0.12),
        (((1, 0.06), (2, 0.10)), 1, 0.06),
        (((1, 0.06), (2, 0.10)), 2, 0.10),
        (((1, 0.06), (2, 0.10)), 8, 0.34),
        (((1, 0.10), (4, 0.10)), 4, 0.10),
        (((1, 0.02), (4, 0.20)), 1, 0.044),
        (((0, 0.01), (1, 0.06)), 1, 0.06),
    ],
    ids=[
        "nothing is known",
        "one kind of step, as it was",
        "one kind of step, in proportion",
        "two kinds of step, the smaller",
        "two kinds of step, the larger",
        "two kinds of step, beyond them",
        "blocks that cost nothing",
        "small steps are not thought to be cheaper than in proportion",
        "steps without blocks",
    ],
)
def test_a_steps_time_is_a_line_over_its_blocks(
    steps: tuple[tuple[int, float], ...], blocks: int, seconds: float
) -> None:
    """Learned from any mixture of steps."""
    assert learn(*steps).estimate(blocks) == pytest.approx(seconds, rel=0.25)


def test_the_latest_steps_count_most() -> None:
    """A server that becomes twice as slow, since others share its cores, is known to be within some steps."""
    cost = learn((1, 0.05), (2, 0.09))
    for _ in range(50):
        cost.observe(1, 0.10)
        cost.observe(2, 0.18)
    assert cost.estimate(2) == pytest.approx(0.18, rel=0.1)


@pytest.mark.parametrize(
    ("turns", "load"), [(0, 0.0), (1, 0.06 / 0.24), (2, 0.10 / 0.24), (4, 2 * 0.10 / 0.24)]
)
def test_load_is_the_work_of_a_second_for_all(turns: int, load: float) -> None:
    """With at most two blocks a step; a block lasts 0.24 s."""
    assert find_load(learn((1, 0.06), (2, 0.10)), turns, 2) == pytest.approx(load, rel=0.02)


@pytest.mark.parametrize(
    ("turns", "max_load", "answer"),
    [(0, 0.9, True), (1, 0.9, True), (3, 0.9, True), (4, 0.9, False), (4, 1.1, True), (0, 0.01, True)],
    ids=[
        "the first always",
        "a second",
        "the fourth just so",
        "a fifth would make others wait",
        "unless more is allowed",
        "the first even on a server slower than speech",
    ],
)
def test_a_turn_is_played_only_if_the_others_are_not_held_up(
    turns: int, max_load: float, answer: bool
) -> None:
    """A step of two blocks takes a tenth of a second: four turns need 0.83 s a second, five need 1.04."""
    cost = learn((1, 0.06), (2, 0.10))
    assert can_join(cost, turns=turns, most_blocks=2, max_load=max_load) is answer


def test_who_comes_to_an_unknown_server_is_played() -> None:
    """There is nothing to go by yet."""
    assert can_join(StepCost(), turns=7, most_blocks=2, max_load=0.9)
