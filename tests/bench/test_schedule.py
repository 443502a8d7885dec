"""The schedule's simulation: its policies differ as they should, and nothing in it depends on the machine."""

import pytest
from tercet_wire.names import Stage
from tercet_wire.settings import StageSettings

from bench.line_plot import Line, Plot, render_plot
from bench.schedule import Outcome, Policy, draw_arrivals, find_playable, simulate

SECONDS = 40.0


def play(policy: Policy, load: float, **settings: float) -> Outcome:
    given = StageSettings(stage=Stage.CODE2WAV, checkpoint="none").model_copy(update=settings)
    return simulate(policy, load, seconds=SECONDS, seed=3, settings=given)


@pytest.mark.parametrize("policy", ["first come", "first windows"])
def test_by_deadline_more_load_plays(policy: Policy) -> None:
    """At seven tenths of what the server makes nobody stutters by deadline, and many do otherwise."""
    assert play("deadline", 0.7).stuttering == 0
    assert play(policy, 0.7).stuttering > 0.1


def test_with_admission_nobody_stutters_whatever_is_offered() -> None:
    """Twice what the server makes: who finds no place waits or is refused; without admission all lose."""
    outcome = play("deadline, admission", 2.0, queue_s=2.0)
    assert outcome.stuttering == 0
    assert 0.2 < outcome.refused < 0.7
    assert play("deadline", 2.0).stuttering > 0.5


def test_all_that_is_offered_is_played_at_little_load() -> None:
    """Every turn ends, none is refused, and the first sound comes within the promise."""
    outcome = play("deadline, admission", 0.3)
    assert outcome.turns == len(draw_arrivals(0.3, SECONDS, 3))
    assert (outcome.stuttering, outcome.refused) == (0, 0)
    assert outcome.ttfa_p95_s < 0.25


def test_the_same_seed_gives_the_same_figures() -> None:
    """There is no clock in it."""
    assert play("deadline", 0.8) == play("deadline", 0.8)


def outcome(load: float, stuttering: float, policy: Policy = "deadline") -> Outcome:
    return Outcome(
        policy=policy,
        load=load,
        turns=1,
        stuttering=stuttering,
        ttfa_p50_s=0.1,
        ttfa_p95_s=0.1,
        refused=0,
    )


@pytest.mark.parametrize(
    ("shares", "playable"),
    [([0.0, 0.0, 0.0], 0.3), ([0.0, 0.005, 0.4], 0.2), ([0.0, 0.4, 0.0], 0.1), ([0.4, 0.0, 0.0], 0.0)],
    ids=["all", "hardly anybody", "not beyond the first that fails", "none"],
)
def test_a_load_plays_if_all_lower_ones_do(shares: list[float], playable: float) -> None:
    """Fewer than one turn in a hundred may stutter; other policies do not count."""
    outcomes = [outcome(0.1 * (number + 1), share) for number, share in enumerate(shares)]
    others = [outcome(0.1, 1.0, "first come")]
    assert find_playable([*others, *outcomes], "deadline") == pytest.approx(playable)


def test_a_plot_has_a_line_for_each_and_stays_in_its_frame() -> None:
    """What is higher than the frame is drawn at its upper edge."""
    lines = [Line(name="a < b", points=[(0.0, 0.0), (2.0, 500.0)]), Line(name="c", points=[(1.0, 50.0)])]
    drawn = render_plot(Plot(title="t", across="x", up="y", most=100, lines=lines))
    assert drawn.count("<polyline") == 2
    assert 'points="60.0,312.0 470.0,36.0"' in drawn
    assert "a &lt; b" in drawn
