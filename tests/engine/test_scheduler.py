"""The scheduler as tables: who gets a place, who is dropped, what a step holds."""

from collections.abc import Mapping, Sequence

import pytest
from tercet_engine.decoder.blocks import BlockPool
from tercet_engine.decoder.scheduler import Limits, Scheduler, Share, Ticket


def scheduler(
    *,
    blocks: int = 10,
    max_turns: int = 4,
    queue_turns: int = 8,
    queue_s: float = 30.0,
    chunk_tokens: int = 16,
) -> Scheduler:
    limits = Limits(max_turns=max_turns, queue_turns=queue_turns, queue_s=queue_s, chunk_tokens=chunk_tokens)
    return Scheduler(limits, BlockPool(blocks=blocks, block_tokens=4))


def ticket(session: str, *, tokens: int = 4, due_s: float = 1.0, arrived_s: float = 0.0) -> Ticket:
    return Ticket(session=session, tokens=tokens, due_s=due_s, arrived_s=arrived_s)


def admitted(scheduler: Scheduler) -> list[str]:
    return [session for session, _ in scheduler.admit()]


@pytest.mark.parametrize(
    ("tickets", "expected"),
    [
        pytest.param([ticket("a"), ticket("b")], ["a", "b"], id="both fit"),
        pytest.param([ticket("a", due_s=2), ticket("b", due_s=1)], ["b", "a"], id="earliest deadline first"),
        pytest.param([ticket("a", arrived_s=2), ticket("b", arrived_s=1)], ["b", "a"], id="ties by arrival"),
        pytest.param([ticket(name) for name in "abcde"], list("abcd"), id="no more than max_turns"),
        pytest.param([ticket("a", tokens=36), ticket("b", tokens=5)], ["a"], id="no more than memory"),
        pytest.param([ticket("a", tokens=40)], ["a"], id="a turn as large as the pool"),
        pytest.param(
            [ticket("a", tokens=20), ticket("b", tokens=24, due_s=2), ticket("c", due_s=3)],
            ["a"],
            id="a small turn does not pass a large one",
        ),
    ],
)
def test_places_go_by_deadline_as_far_as_there_is_room(
    tickets: Sequence[Ticket], expected: list[str]
) -> None:
    """Strictly in order, so that nobody starves."""
    turns = scheduler()
    for each in tickets:
        turns.join(each)
    assert admitted(turns) == expected


def test_a_turn_that_leaves_makes_room_for_the_next() -> None:
    """Both its place and its blocks."""
    turns = scheduler(blocks=2, max_turns=1)
    turns.join(ticket("a", tokens=8))
    turns.join(ticket("b", tokens=8))
    assert admitted(turns) == ["a"]
    assert turns.kv_used == 1.0
    turns.leave("a")
    assert turns.kv_used == 0.0
    assert admitted(turns) == ["b"]


def test_a_turn_may_leave_while_it_waits_and_more_than_once() -> None:
    """Clients go at any time."""
    turns = scheduler(max_turns=1)
    turns.join(ticket("a"))
    turns.join(ticket("b"))
    admitted(turns)
    for _ in range(2):
        turns.leave("b")
        turns.leave("a")
    assert (turns.running, turns.waiting, turns.kv_used) == (0, 0, 0.0)


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [
        pytest.param(10.9, [], id="in time"),
        pytest.param(11.0, ["b"], id="the first has waited long enough"),
        pytest.param(12.0, ["b", "c"], id="both have"),
    ],
)
def test_turns_that_waited_too_long_are_dropped(now_s: float, expected: list[str]) -> None:
    """Time is told, not read."""
    turns = scheduler(max_turns=1, queue_s=10.0)
    for arrived_s, session in enumerate("abc"):
        turns.join(ticket(session, arrived_s=float(arrived_s)))
    admitted(turns)
    assert turns.expire(now_s) == expected


def test_the_latest_comers_are_dropped_when_too_many_wait() -> None:
    """Even if they are due first."""
    turns = scheduler(max_turns=1, queue_turns=1)
    for arrived_s, session in enumerate("abc"):
        turns.join(ticket(session, arrived_s=float(arrived_s), due_s=5.0 - arrived_s))
    assert admitted(turns) == ["c"]
    assert turns.expire(2.0) == ["b"]
    assert turns.waiting == 1


@pytest.mark.parametrize(
    ("ready", "expected"),
    [
        pytest.param({}, {}, id="nobody is ready"),
        pytest.param({"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}, id="every decoding turn takes part"),
        pytest.param({"a": 0, "b": 1}, {"b": 1}, id="a turn without input sits out"),
        pytest.param({"a": 1, "b": 9}, {"a": 1, "b": 9}, id="a prompt joins decoding turns"),
        pytest.param({"a": 40}, {"a": 16}, id="a long prompt is cut"),
        pytest.param({"a": 10, "b": 10, "c": 10}, {"a": 10, "b": 6}, id="prompts share the budget in order"),
        pytest.param({"a": 16, "b": 5, "c": 1}, {"a": 16, "c": 1}, id="decoding goes on when it is spent"),
    ],
)
def test_a_step_holds_next_tokens_and_a_share_of_prompts(
    ready: Mapping[str, int], expected: dict[str, int]
) -> None:
    """Turn a is due first, then b, then c; sixteen prompt rows a step."""
    turns = scheduler()
    for due_s, session in enumerate("abc"):
        turns.join(ticket(session, due_s=float(due_s)))
    admitted(turns)
    assert turns.plan(ready) == [Share(session=session, rows=rows) for session, rows in expected.items()]


def test_blocks_have_one_holder_each_and_all_come_back() -> None:
    """Whatever the order in which turns end."""
    pool = BlockPool(blocks=7, block_tokens=4)
    first, second = pool.take(9), pool.take(16)
    assert first is not None
    assert second is not None
    assert sorted(first + second) == list(range(7))
    assert pool.take(1) is None
    pool.give_back(first)
    pool.give_back(second)
    assert pool.free == 7
    assert sorted(pool.take(28) or ()) == list(range(7))
