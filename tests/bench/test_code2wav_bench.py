"""What the benchmark of code2wav makes of its measurements."""

import numpy as np
import pytest

from bench.code2wav import CHEAP, GROWING, PEER, TWO, WHOLE, WINDOWS, build_report, find_ageing
from bench.windows import Spoken

BLOCK_SAMPLES = 24_000 * 24 // 100


@pytest.mark.parametrize(("last_s", "ageing"), [(0.1, 1.0), (0.2, 2.0)])
def test_ageing_compares_the_last_windows_with_the_first(last_s: float, ageing: float) -> None:
    """The very first ones and the rest at the end, which are not like the others, are left out."""
    took = [9.0, 9.0, *[0.1] * 60, *[last_s] * 40, 9.0]
    spoken = Spoken(
        wave=np.zeros(0),
        fired=tuple((0, BLOCK_SAMPLES) for _ in took),
        took_by_window_s=tuple(took),
        blocks=0,
        took_s=sum(took),
    )
    assert find_ageing(spoken) == pytest.approx(ageing)


def test_the_report_claims_ratios_within_a_round() -> None:
    """A machine that is half as fast in the second round changes nothing."""
    times = {name: [1.0, 2.0] for name in (PEER, *WINDOWS)}
    times |= {PEER: [8.0, 16.0], WHOLE: [1.0, 2.0], TWO: [1.1, 2.2], GROWING: [2.1, 4.2], CHEAP: [0.5, 1.0]}
    claims = build_report(times, [1.01, 1.02]).claims
    assert [claim.measured for claim in claims] == pytest.approx([1.1, 1.015, 2.1 / 8, 0.5 / 8])
    assert [claim.is_met for claim in claims] == [True, True, False, True]
