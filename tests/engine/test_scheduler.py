"""The scheduler as tables: who gets a place, who is dropped, what a step holds."""

from collections.abc import Mapping, Sequence

import pytest
from tercet_engine.decoder.blocks import BlockPool, Grant, Prefix
from tercet_engine.decoder.scheduler import Limits, Scheduler, Share, Ticket

from tests.engine.paging import take_blocks

ALONE = Prefix()


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


def ticket(
    session: str,
    *,
    tokens: int = 4,
    due_s: float = 1.0,
    arrived_s: float = 0.0,
    prefix: Prefix = ALONE,
) -> Ticket:
    return Ticket(session=session, tokens=tokens, due_s=due_s, arrived_s=arrived_s, prefix=prefix)


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
    first, second = take_blocks(pool, 9), take_blocks(pool, 16)
    assert sorted(first + second) == list(range(7))
    assert pool.take(1) is None
    pool.give_back(first)
    pool.give_back(second)
    assert pool.free == 7
    assert sorted(take_blocks(pool, 28)) == list(range(7))


def test_turns_that_begin_alike_share_what_was_computed() -> None:
    """From when the first one has its prompt behind it, as far as keys agree, and while either runs."""
    pool = BlockPool(blocks=8, block_tokens=4)
    first = take_blocks(pool, 16)
    assert pool.take(4, [b"a"]) == Grant((4,), 0)
    pool.know(first, [b"a", b"b", b"c"])
    second = pool.take(14, [b"a", b"b", b"other"])
    assert second is not None
    assert second.known == 2
    assert second.blocks[:2] == first[:2]
    assert not set(second.blocks[2:]) & set(first)
    assert set(pool.give_back(first)) == {first[3]}
    assert pool.take(8, [b"a", b"b"]) == Grant(first[:2], 2)


def test_what_was_computed_goes_when_its_room_is_needed() -> None:
    """The longest unused first, and of a prompt its end before its beginning."""
    pool = BlockPool(blocks=4, block_tokens=4)
    for keys in ([b"a", b"b"], [b"c"]):
        blocks = take_blocks(pool, 4 * len(keys))
        pool.know(blocks, keys)
        assert pool.give_back(blocks) == []
    assert pool.free == 4
    held = take_blocks(pool, 8)
    assert pool.take(4, [b"a", b"b"]) == Grant((0,), 1)
    assert pool.take(8, [b"c"]) is None
    pool.give_back(held)
    assert pool.take(4, [b"c"]) == Grant((2,), 1)


def test_a_shared_block_is_given_back_once_by_each() -> None:
    pool = BlockPool(blocks=2, block_tokens=4)
    first = take_blocks(pool, 4)
    pool.know(first, [b"a"])
    second = pool.take(4, [b"a"])
    assert second == Grant(first, 1)
    pool.give_back(first)
    assert pool.take(8) is None
    pool.give_back(first)
    assert sorted(take_blocks(pool, 8)) == [0, 1]


def test_a_prompt_is_shared_as_far_as_its_turn_allows() -> None:
    """One that lacks the states of a block has to compute it."""
    turns = scheduler()
    keys = (b"a", b"b")
    turns.join(ticket("a", tokens=12, prefix=Prefix(keys, 2)))
    ((_, first),) = turns.admit()
    turns.learn("a")
    turns.join(ticket("b", tokens=12, prefix=Prefix(keys, 1)))
    ((_, second),) = turns.admit()
    assert (first.known, second.known) == (0, 1)
    assert second.blocks[0] == first.blocks[0]
    assert second.blocks[1] != first.blocks[1]
