"""The scheduler as tables: who gets a place, who is dropped, what a step holds."""

from collections.abc import Iterable, Mapping, Sequence

import pytest
from tercet_engine.decoder.blocks import BlockPool, Grant, Prefix, Size
from tercet_engine.decoder.scheduler import Limits, Scheduler, Ticket

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
    prompt: int | None = None,
    due_s: float = 1.0,
    arrived_s: float = 0.0,
    prefix: Prefix = ALONE,
) -> Ticket:
    """`prompt`: of its tokens; None: all of them."""
    size = Size(prompt=tokens if prompt is None else prompt, most=tokens)
    return Ticket(session=session, size=size, due_s=due_s, arrived_s=arrived_s, prefix=prefix)


def join_alike(
    turns: Scheduler, sessions: Iterable[str], *, prompt: int, tokens: int, due_s: float = 1.0
) -> None:
    for session in sessions:
        turns.join(ticket(session, prompt=prompt, tokens=tokens, due_s=due_s))


def planned(turns: Scheduler, ready: Mapping[str, int]) -> dict[str, int]:
    return {share.session: share.rows for share in turns.plan(ready).shares}


def see_short_replies(turns: Scheduler) -> None:
    """A hundred that wrote nothing of what they might have."""
    for _ in range(100):
        turns.join(ticket("short", prompt=4, tokens=40))
        assert admitted(turns) == ["short"]
        turns.plan({"short": 4})
        turns.leave("short")


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
    turns = scheduler(blocks=30)
    for due_s, session in enumerate("abc"):
        turns.join(ticket(session, tokens=40, due_s=float(due_s)))
    admitted(turns)
    assert planned(turns, ready) == expected


def test_memory_is_taken_as_a_turn_grows() -> None:
    """The prompt's when it is admitted, then a block whenever one is full."""
    turns = scheduler(blocks=10)
    turns.join(ticket("a", prompt=6, tokens=40))
    ((_, grant),) = turns.admit()
    assert len(grant.blocks) == 2
    steps = [turns.plan({"a": rows}) for rows in (6, 1, 1, 1)]
    assert [len(step.grown.get("a", ())) for step in steps] == [0, 0, 0, 1]
    assert turns.kv_used == pytest.approx(0.3)
    assert not {*steps[-1].grown["a"]} & {*grant.blocks}


def test_more_turns_run_than_fit_at_their_longest_and_all_end() -> None:
    """Whoever finds no memory sits out until another ends; nobody for ever, whatever the order of ends."""
    turns = scheduler(blocks=10, max_turns=8)
    see_short_replies(turns)
    longest = {"a": 24, "b": 20, "c": 20}
    for session, tokens in longest.items():
        turns.join(ticket(session, prompt=4, tokens=tokens))
    assert admitted(turns) == ["a", "b", "c"]
    fed = dict.fromkeys(longest, 0)
    ended, sat_out = [], 0
    for _ in range(sum(longest.values())):
        ready = {session: 1 for session in longest if session not in ended}
        if not ready:
            break
        steps = planned(turns, ready)
        sat_out += len(ready) - len(steps)
        for session, rows in steps.items():
            fed[session] += rows
            if fed[session] == longest[session]:
                turns.leave(session)
                ended.append(session)
    assert sorted(ended) == ["a", "b", "c"]
    assert sat_out > 0
    assert turns.kv_used == 0.0


def test_a_turn_that_would_lock_others_out_waits() -> None:
    """Two that hold the whole pool, and lack a block each, would wait for each other for ever."""
    turns = scheduler(blocks=10)
    see_short_replies(turns)
    join_alike(turns, "ab", prompt=20, tokens=24)
    assert admitted(turns) == ["a"]


def test_what_two_share_is_not_free_when_one_of_them_ends() -> None:
    """Of ten blocks c has one, a and b the same five: when a has ended, four are too few for b and for c."""
    turns = scheduler(blocks=10)
    see_short_replies(turns)
    keys = tuple(bytes([number]) for number in range(5))
    turns.join(ticket("c", prompt=4, tokens=32, due_s=0.0))
    turns.join(ticket("a", prompt=20, tokens=24, prefix=Prefix(keys, 5)))
    assert admitted(turns) == ["c", "a"]
    turns.plan({"a": 16})
    turns.plan({"a": 4})
    turns.learn("a")
    turns.join(ticket("b", prompt=20, tokens=40, prefix=Prefix(keys, 5)))
    assert admitted(turns) == []
    turns.leave("c")
    assert admitted(turns) == ["b"]


def test_nobody_is_admitted_while_one_who_runs_lacks_a_block() -> None:
    """However soon the newcomer is due and however little it takes: it would take it for ever."""
    turns = scheduler(blocks=10, max_turns=8)
    see_short_replies(turns)
    join_alike(turns, "ab", prompt=4, tokens=32)
    assert admitted(turns) == ["a", "b"]
    turns.plan({"a": 4, "b": 4})
    while planned(turns, {"a": 1, "b": 1}) == {"a": 1, "b": 1}:
        pass
    turns.join(ticket("c", prompt=4, tokens=4, due_s=0.0))
    assert turns.kv_used < 1
    assert admitted(turns) == []
    turns.leave("a")
    assert planned(turns, {"b": 1}) == {"b": 1}
    assert admitted(turns) == ["c"]


def test_who_is_refused_costs_nobody_what_was_computed() -> None:
    """Blocks are counted before any is taken."""
    turns = scheduler(blocks=10, max_turns=8)
    keys = (b"a", b"b", b"c")
    turns.join(ticket("first", prompt=12, tokens=12, prefix=Prefix(keys, 3)))
    turns.admit()
    turns.plan({"first": 12})
    turns.learn("first")
    turns.leave("first")
    turns.join(ticket("large", prompt=4, tokens=20))
    assert admitted(turns) == ["large"]
    join_alike(turns, ("second", "third"), prompt=16, tokens=32, due_s=2.0)
    assert admitted(turns) == []
    for session in ("second", "third"):
        turns.leave(session)
    turns.join(ticket("again", prompt=12, tokens=12, prefix=Prefix(keys, 3)))
    ((_, grant),) = turns.admit()
    assert grant.known == 3


def test_places_are_given_as_if_all_wrote_as_much_as_those_before() -> None:
    """And as if they wrote all that they may, before any has ended."""
    turns = scheduler(blocks=10)
    join_alike(turns, "abc", prompt=4, tokens=16)
    assert admitted(turns) == ["a", "b"]
    for session in "abc":
        turns.leave(session)
    see_short_replies(turns)
    join_alike(turns, "def", prompt=4, tokens=16)
    assert admitted(turns) == ["d", "e", "f"]


def test_who_leaves_before_it_writes_teaches_nothing() -> None:
    """Its caller went away."""
    turns = scheduler(blocks=10)
    for _ in range(100):
        turns.join(ticket("gone", prompt=8, tokens=40))
        turns.admit()
        turns.plan({"gone": 4})
        turns.leave("gone")
    join_alike(turns, "abc", prompt=4, tokens=16)
    assert admitted(turns) == ["a", "b"]


def test_memory_for_one_to_write_all_it_may_is_kept() -> None:
    """Else all of them would soon wait for whom lacks least."""
    turns = scheduler(blocks=10, max_turns=8)
    see_short_replies(turns)
    join_alike(turns, "abcd", prompt=4, tokens=28)
    assert admitted(turns) == ["a", "b", "c"]


def test_a_later_comer_that_is_due_first_comes_first_in_a_step() -> None:
    turns = scheduler(blocks=30)
    for due_s, session in ((2.0, "a"), (1.0, "b")):
        turns.join(ticket(session, tokens=40, due_s=due_s))
        assert admitted(turns) == [session]
    assert planned(turns, {"a": 10, "b": 10}) == {"b": 10, "a": 6}


def test_blocks_have_one_holder_each_and_all_come_back() -> None:
    """Whatever the order in which turns end."""
    pool = BlockPool(blocks=7, block_tokens=4)
    first, second = take_blocks(pool, 9), take_blocks(pool, 16)
    assert sorted(first + second) == list(range(7))
    assert pool.free == 0
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
    assert pool.count_taken(14, [b"a", b"b", b"other"]) == 2
    second = pool.take(14, [b"a", b"b", b"other"])
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
    assert pool.count_taken(8, [b"c"]) == 2
    assert pool.free == 1
    pool.give_back(held)
    assert pool.count_taken(4, [b"c"]) == 1
    assert pool.take(4, [b"c"]) == Grant((2,), 1)


def test_a_shared_block_is_given_back_once_by_each() -> None:
    pool = BlockPool(blocks=2, block_tokens=4)
    first = take_blocks(pool, 4)
    pool.know(first, [b"a"])
    second = pool.take(4, [b"a"])
    assert second == Grant(first, 1)
    assert pool.count_own(first) == 0
    pool.give_back(first)
    assert pool.count_own(first) == 1
    assert pool.free == 1
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


def test_what_is_known_of_a_prompt_needs_no_rows() -> None:
    """Two of its three blocks: after four rows the next one needs a block of its own."""
    turns = scheduler(blocks=20)
    keys = (b"a", b"b")
    turns.join(ticket("a", prompt=12, tokens=20, prefix=Prefix(keys, 2)))
    turns.admit()
    turns.plan({"a": 12})
    turns.learn("a")
    turns.join(ticket("b", prompt=12, tokens=20, prefix=Prefix(keys, 2)))
    turns.admit()
    assert [len(turns.plan({"b": rows}).grown.get("b", ())) for rows in (4, 1)] == [0, 1]
