"""Which turns go first, as tables: no torch, no clock."""

import pytest
from tercet_engine.code2wav.deadlines import BatchLimits, Candidate, choose_batch, deadline


def candidates(*due_and_blocks: tuple[float, int]) -> list[Candidate]:
    return [Candidate(due_at=due_at, blocks=blocks) for due_at, blocks in due_and_blocks]


@pytest.mark.parametrize(
    ("case", "chosen"),
    [
        ([], []),
        ([(10.5, 1), (10.1, 1), (10.3, 1)], [1, 2, 0]),
        ([(9.0, 1), (10.1, 1)], [0, 1]),
        ([(10.1, 3), (10.2, 2), (10.3, 1)], [0, 2]),
        ([(10.1, 40), (10.2, 1)], [0]),
        ([(9.0, 1), (10.1, 6), (10.2, 1)], [0, 1, 2]),
        ([(10.1, 1), (14.0, 1)], [0]),
        ([(14.0, 1), (13.0, 1)], [1, 0]),
    ],
    ids=[
        "nothing to do",
        "the nearest deadline first",
        "a missed deadline before all",
        "what does not fit is passed over",
        "the most urgent goes whatever it costs",
        "a full step once one is late",
        "a listener with a full buffer waits while another is due",
        "when none is due the relaxed ones go",
    ],
)
def test_the_nearest_deadline_goes_first(case: list[tuple[float, int]], chosen: list[int]) -> None:
    """At ten o'clock, with four blocks to spend in time and eight when late."""
    assert choose_batch(candidates(*case), now=10.0, limits=BatchLimits(in_time=4, late=8)) == chosen


def test_a_new_turn_is_due_soon_after_it_could_begin() -> None:
    """Before the first sound the promise counts."""
    assert deadline(begin_at=5.0, due_s=0.15, first_sent_at=None, sent_s=0.0) == pytest.approx(5.15)


def test_a_running_turn_is_due_when_its_listener_runs_dry() -> None:
    """After it, the sound that was sent."""
    assert deadline(begin_at=5.0, due_s=0.15, first_sent_at=5.1, sent_s=0.48) == pytest.approx(5.58)
