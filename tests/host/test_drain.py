"""A server that is to stop: how long its pod waits for it, and what it says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from tercet_host.drain import POLL_S, Clock, ServerGoneError, Turns, drain, parse_turns, read_turns

BUSY = {"thinker": 1, "talker": 2, "code2wav": 0}
IDLE = {"thinker": 0, "talker": 0, "code2wav": 0}
PAGE = """\
# HELP nv_inference_request_success Number of successful inference requests
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="thinker",version="1"} 4
# HELP tercet_stage_turns Turns in the stage, running or waiting
# TYPE tercet_stage_turns gauge
tercet_stage_turns{stage="code2wav"} 0
tercet_stage_turns{stage="talker"} 12
tercet_stage_turns{model="x",stage="thinker",version="1"} 3.000000
"""


def test_the_gauge_is_found_among_a_servers_metrics() -> None:
    """By stage, whatever else Triton says."""
    assert parse_turns(PAGE) == {"code2wav": 0, "talker": 12, "thinker": 3}


@dataclass
class Watch:
    """Time that passes only while somebody sleeps."""

    now_s: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class Drained:
    ended: bool
    took_s: float
    said: list[str] = field(default_factory=list)


def run_drain(answers: Sequence[Turns | None], limit_s: float = 60.0) -> Drained:
    """`answers` in turn, the last one again and again; an empty one stands for a server that is gone."""
    watch, said = Watch(), list[str]()
    left = _iter_answers(answers)

    def read() -> Turns | None:
        answer = next(left)
        if answer == {}:
            raise ServerGoneError
        return answer

    clock = Clock(now=lambda: watch.now_s, sleep=watch.sleep)
    ended = drain(read, limit_s, say=said.append, clock=clock)
    return Drained(ended, watch.now_s, said)


def _iter_answers(answers: Sequence[Turns | None]) -> Iterator[Turns | None]:
    yield from answers
    while True:
        yield answers[-1]


@pytest.mark.parametrize(
    ("answers", "took_s", "said"),
    [
        pytest.param([IDLE], 2 * POLL_S, ["no turns are left after 1.0 s"], id="an idle one"),
        pytest.param(
            [BUSY, BUSY, IDLE],
            4 * POLL_S,
            [
                "waiting at most 60 s for 1 in the thinker, 2 in the talker",
                "no turns are left after 2.0 s",
            ],
            id="a busy one",
        ),
        pytest.param(
            [BUSY, IDLE, {"thinker": 0, "talker": 1}, IDLE],
            5 * POLL_S,
            [
                "waiting at most 60 s for 1 in the thinker, 2 in the talker",
                "waiting at most 60 s for 1 in the talker",
                "no turns are left after 2.5 s",
            ],
            id="a turn between two stages",
        ),
        pytest.param(
            [BUSY, {}],
            POLL_S,
            ["waiting at most 60 s for 1 in the thinker, 2 in the talker", "the server is gone"],
            id="one that ends",
        ),
        pytest.param(
            [None, IDLE],
            3 * POLL_S,
            ["waiting at most 60 s for an answer", "no turns are left after 1.5 s"],
            id="one too busy to answer",
        ),
    ],
)
def test_it_waits_until_no_stage_has_a_turn(
    answers: Sequence[Turns | None], took_s: float, said: list[str]
) -> None:
    """Seen twice, since a turn on its way is nowhere."""
    drained = run_drain(answers)
    assert drained.ended
    assert drained.took_s == took_s
    assert drained.said == said


def test_it_gives_up_when_the_limit_is_over() -> None:
    """And says what is cut off."""
    drained = run_drain([BUSY], limit_s=3.0)
    assert not drained.ended
    assert drained.took_s == 3.0
    assert drained.said[-1] == "3 s are over; cut off: 1 in the thinker, 2 in the talker"


def test_a_port_where_nobody_listens_means_a_server_that_is_gone() -> None:
    """The kernel refuses at once."""
    with pytest.raises(ServerGoneError):
        read_turns(9)
