"""The figures of a listener, from hand-made arrivals."""

import pytest
from tercet_cli.timings import Sound, Spread, TurnRecord, percentile, spread, turn_figures, underrun_s


def _sounds(*pieces: tuple[float, float]) -> tuple[Sound, ...]:
    return tuple(Sound(at_s=at_s, seconds=seconds) for at_s, seconds in pieces)


@pytest.mark.parametrize(
    ("case", "sounds", "deficit"),
    [
        ("one piece", [(5.0, 1.0)], 0.0),
        ("just in time", [(5.0, 1.0), (6.0, 1.0), (7.0, 1.0)], 0.0),
        ("always ahead", [(5.0, 1.0), (5.1, 1.0), (5.2, 1.0)], 0.0),
        ("the second is late", [(5.0, 1.0), (6.5, 1.0)], 0.5),
        ("a late piece, then the rest at once", [(0.0, 1.0), (1.25, 1.0), (1.25, 1.0), (3.0, 1.0)], 0.25),
        ("it grows", [(0.0, 0.5), (1.0, 0.5), (2.0, 0.5)], 1.0),
        ("an early buffer pays for a late piece", [(0.0, 1.0), (0.0, 1.0), (2.0, 1.0)], 0.0),
    ],
)
def test_an_underrun_is_the_longest_wait_of_a_player(
    case: str, sounds: list[tuple[float, float]], deficit: float
) -> None:
    """Deficits made by hand; the player starts with the first piece."""
    assert underrun_s(_sounds(*sounds)) == pytest.approx(deficit), case


def test_a_spoken_turn_has_every_figure() -> None:
    """Sent at 10: text at 10.1 to 10.5, two seconds of sound at 10.2 and 11."""
    figures = turn_figures(
        TurnRecord(
            sent_s=10.0, text_s=(10.1, 10.3, 10.5), sounds=_sounds((10.2, 0.5), (11.0, 1.5)), text_tokens=21
        )
    )
    assert figures.ttft_s == pytest.approx(0.1)
    assert figures.ttfa_s == pytest.approx(0.2)
    assert figures.rtf == pytest.approx(0.5)
    assert figures.stream_rtf == pytest.approx(0.4)
    assert figures.underrun_s == pytest.approx(0.3)
    assert figures.tokens_per_s == pytest.approx(50.0)
    assert figures.audio_s == pytest.approx(2.0)


def test_a_turn_without_sound_has_no_figures_of_sound() -> None:
    """Nor has one of a single token a speed."""
    figures = turn_figures(TurnRecord(sent_s=0.0, text_s=(0.5,), sounds=(), text_tokens=1))
    assert figures.ttft_s == pytest.approx(0.5)
    assert (figures.ttfa_s, figures.rtf, figures.stream_rtf, figures.underrun_s) == (None,) * 4
    assert figures.tokens_per_s is None
    assert figures.audio_s == 0


@pytest.mark.parametrize(
    ("values", "share", "value"),
    [
        ([3.0], 0.99, 3.0),
        ([1.0, 2.0], 0.5, 1.5),
        ([4.0, 1.0, 3.0, 2.0, 5.0], 0.5, 3.0),
        ([0.0, 10.0], 0.95, 9.5),
    ],
)
def test_a_percentile_lies_between_its_neighbours(values: list[float], share: float, value: float) -> None:
    """By proportion, whatever the order."""
    assert percentile(values, share) == pytest.approx(value)


def test_p95_is_the_bad_end_also_where_more_is_better() -> None:
    """Of speeds 1 to 101, 95 of 100 are above 6."""
    values = [float(value) for value in range(1, 102)]
    assert spread(values) == Spread(p50=51.0, p95=96.0, p99=100.0)
    assert spread(values, more_is_better=True) == Spread(p50=51.0, p95=6.0, p99=2.0)


def test_turns_without_the_figure_are_left_out() -> None:
    """And a figure that no turn has is None."""
    assert spread([None, 2.0, None]) == Spread(p50=2.0, p95=2.0, p99=2.0)
    assert spread([None]) is None
