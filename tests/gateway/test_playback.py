"""Timed pieces of sound through the player, against deficits made by hand."""

import pytest
from tercet_gateway.playback import Player

CASES: dict[str, tuple[list[tuple[float, float]], float, int, float | None]] = {
    "one piece": ([(1.0, 5.0)], 0.0, 0, None),
    "always ahead": ([(1.0, 1.0), (1.5, 1.0), (2.0, 1.0)], 0.0, 0, 1.0 / 3),
    "in the nick of time": ([(0.0, 1.0), (1.0, 1.0)], 0.0, 0, 0.5),
    "one gap": ([(0.0, 1.0), (1.5, 1.0), (2.0, 1.0)], 0.5, 1, 2.0 / 3),
    "two gaps": ([(0.0, 1.0), (1.5, 1.0), (3.0, 1.0)], 1.0, 2, 1.0),
    "caught up after a gap": ([(0.0, 1.0), (2.0, 5.0), (2.1, 1.0)], 1.0, 1, 0.3),
    "slower than sound": ([(0.0, 1.0), (2.0, 1.0), (4.0, 1.0)], 2.0, 2, 4.0 / 3),
}


@pytest.mark.parametrize("case", CASES)
def test_player(case: str) -> None:
    """Silence, stalls and real-time factor of these pieces."""
    pieces, underrun_s, gaps, factor = CASES[case]
    player = Player()
    for at_s, audio_s in pieces:
        player.hear(at_s, audio_s)
    assert player.underrun_s == pytest.approx(underrun_s)
    assert player.gaps == gaps
    assert player.real_time_factor() == (None if factor is None else pytest.approx(factor))


@pytest.mark.parametrize("case", CASES)
def test_silence_equals_the_worst_deficit(case: str) -> None:
    """A player that shifts is silent as long as one that does not shift is ever behind."""
    pieces = CASES[case][0]
    first_s, heard_s, worst_s = pieces[0][0], 0.0, 0.0
    player = Player()
    for at_s, audio_s in pieces:
        worst_s = max(worst_s, at_s - first_s - heard_s)
        heard_s += audio_s
        player.hear(at_s, audio_s)
    assert player.underrun_s == pytest.approx(worst_s)
