"""How long prompts are cut beside turns that decode."""

import pytest
from tercet_engine.decoder.blocks import BlockPool, Size
from tercet_engine.decoder.pacing import FEWEST_ROWS, STRETCH, Pace
from tercet_engine.decoder.scheduler import Limits, Scheduler, Ticket


def learned(*, plain_s: float, row_s: float) -> Pace:
    pace = Pace()
    pace.note(singles=8, prompt_rows=0, took_s=plain_s)
    pace.note(singles=8, prompt_rows=10, took_s=plain_s + 10 * row_s)
    return pace


def test_a_step_stays_within_its_stretch() -> None:
    """As many rows as fit between a plain step and the longest one that is allowed."""
    rows = learned(plain_s=0.01, row_s=0.0001).rows(singles=8, most=256)
    assert 0.01 + rows * 0.0001 == pytest.approx(STRETCH * 0.01, rel=0.02)


@pytest.mark.parametrize(
    ("pace", "singles", "expected"),
    [
        pytest.param(learned(plain_s=0.01, row_s=0.1), 8, FEWEST_ROWS, id="dear rows: still some"),
        pytest.param(learned(plain_s=0.01, row_s=1e-9), 8, 256, id="cheap rows: a chunk"),
        pytest.param(learned(plain_s=0.01, row_s=0.1), 0, 256, id="nobody decodes"),
        pytest.param(Pace(), 8, 256, id="nothing is known yet"),
    ],
)
def test_the_rows_have_bounds(pace: Pace, singles: int, expected: int) -> None:
    """At least a few, at most a chunk."""
    assert pace.rows(singles=singles, most=256) == expected


def test_a_pace_follows_the_machine() -> None:
    """What a step cost a while ago counts less and less."""
    pace = learned(plain_s=0.01, row_s=0.0001)
    before = pace.rows(singles=8, most=256)
    for _ in range(50):
        pace.note(singles=8, prompt_rows=20, took_s=0.01 + 20 * 0.0002)
    assert pace.rows(singles=8, most=256) == pytest.approx(before / 2, abs=1)


@pytest.mark.parametrize(("prompt", "expected"), [(30, 30), (32, 32), (33, 8), (1, 1)])
def test_only_prompts_longer_than_a_chunk_are_paced(prompt: int, expected: int) -> None:
    """A short one goes whole: its first sound waits for it."""
    limits = Limits(max_turns=4, queue_turns=4, queue_s=1.0, chunk_tokens=32)
    scheduler = Scheduler(limits, BlockPool(blocks=64, block_tokens=16))
    scheduler.join(Ticket(session="a", size=Size(100, 100), due_s=0.0, arrived_s=0.0))
    scheduler.admit()
    assert [share.rows for share in scheduler.plan({"a": prompt}, 8).shares] == [expected]
