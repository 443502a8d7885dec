"""Where rows are written and which keys they see."""

from collections.abc import Sequence
from math import inf

import pytest
import torch
from tercet_engine.decoder.blocks import BlockPool
from tercet_engine.decoder.kv import KVCache, Span, order_spans
from tercet_engine.decoder.shape import DecoderShape

SHAPE = DecoderShape(layers=1, hidden=8, heads=2, kv_heads=1, head_dim=4, epsilon=1e-6, context=64)


def cache(*, blocks: int = 12, block_tokens: int = 4, seats: int = 4, paged: bool = False) -> KVCache:
    pool = BlockPool(blocks=blocks, block_tokens=block_tokens)
    device = torch.device("cpu")
    return KVCache(SHAPE, pool, seats=seats, device=device, dtype=torch.float32, paged=paged)


def test_rows_are_written_into_their_turns_blocks() -> None:
    """In order within a turn, wherever the blocks lie."""
    kv = cache()
    first, second = kv.bind((7, 2)), kv.bind((5,))
    layout = kv.plan_layout([Span(seat=second, start=1, rows=1), Span(seat=first, start=2, rows=4)])
    assert layout.slots is not None
    assert layout.slots.tolist() == [21, 30, 31, 8, 9]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        pytest.param([(9, 1), (2, 1), (5, 1)], [1, 2, 0], id="short turns first"),
        pytest.param([(0, 8), (3, 1)], [1, 0], id="single rows before prompts"),
        pytest.param([(4, 6), (0, 3), (11, 1)], [2, 1, 0], id="prompts by length"),
    ],
)
def test_a_steps_rows_are_ordered_for_little_padding(
    spans: Sequence[tuple[int, int]], expected: list[int]
) -> None:
    """Each span is (start, count)."""
    ordered = order_spans([Span(seat=i, start=start, rows=count) for i, (start, count) in enumerate(spans)])
    assert ordered == expected


def test_decoding_turns_see_their_own_length_only() -> None:
    """Shorter turns are padded to the longest of their group, and masked."""
    kv = cache()
    short, long = kv.bind((0, 1)), kv.bind((2, 3))
    (group,) = kv.plan_layout([Span(seat=short, start=1, rows=1), Span(seat=long, start=6, rows=1)]).groups
    assert (group.turns, group.queries, group.keys) == (2, 1, 7)
    assert group.blocks.tolist() == [0, 1, 2, 3]
    assert group.mask is not None
    assert group.mask.tolist() == [[[[0.0] * 2 + [-inf] * 5]], [[[0.0] * 7]]]


def test_a_later_chunk_of_a_prompt_sees_what_came_before() -> None:
    """Row i of the chunk sees `start + i + 1` keys, in each head that shares them."""
    kv = cache()
    (group,) = kv.plan_layout([Span(seat=kv.bind((1, 0)), start=3, rows=3)]).groups
    assert group.mask is not None
    assert group.mask.tolist() == [[[[0.0] * seen + [-inf] * (6 - seen) for seen in (4, 5, 6)] * 2]]


def test_long_turns_are_cut_into_groups() -> None:
    """So that what is gathered at once stays small."""
    kv = cache(blocks=3000, block_tokens=1, seats=9)
    shape_bound = [kv.bind(tuple(range(64))) for _ in range(9)]
    spans = [Span(seat=seat, start=63, rows=1) for seat in shape_bound]
    assert [group.turns for group in kv.plan_layout(spans).groups] == [9]
    many = spans * 15  # 135 rows of 64 keys are more than 8192
    assert [group.turns for group in kv.plan_layout(many).groups] == [128, 7]


def test_seats_are_used_again() -> None:
    """A seat that was released serves the next turn, with its own blocks."""
    kv = cache(seats=1)
    seat = kv.bind((3,))
    kv.release(seat)
    seat = kv.bind((4,))
    slots = kv.plan_layout([Span(seat=seat, start=0, rows=2)]).slots
    assert slots is not None
    assert slots.tolist() == [16, 17]


@pytest.mark.parametrize("paged", [False, True])
def test_blocks_are_appended_as_turns_grow(paged: bool) -> None:
    """Behind those of the same turn, in a seat that had more of them before; on the device as well."""
    kv = cache(seats=2, paged=paged)
    kv.release(kv.bind((8, 9, 10, 11)))
    first, second = kv.bind((7,)), kv.bind((2, 3))
    kv.extend([(first, (5,)), (second, (4, 6))])
    kv.extend([(first, (1,))])
    layout = kv.plan_layout([Span(seat=first, start=3, rows=6), Span(seat=second, start=11, rows=5)])
    assert layout.slots is not None
    assert layout.slots.tolist() == [31, 20, 21, 22, 23, 4, 19, 24, 25, 26, 27]
    if kv.tables is not None:
        assert kv.tables[first, :3].tolist() == [7, 5, 1]
        assert kv.tables[second, :4].tolist() == [2, 3, 4, 6]


def test_a_failed_turns_memory_is_wiped() -> None:
    """Its own and nobody else's."""
    kv = cache()
    kv.memory.fill_(float("nan"))
    kv.wipe((4, 9))
    assert kv.memory[0].isnan().any((1, 2, 3)).tolist() == [number not in (4, 9) for number in range(12)]
    kv.wipe((5,))
    assert not kv.memory[0, 5].isnan().any()


def test_padding_reads_a_turns_own_memory() -> None:
    """Never that of a neighbour, which may hold what is no number."""
    kv = cache()
    short, long = kv.bind((7,)), kv.bind((2, 3, 4))
    (group,) = kv.plan_layout([Span(seat=short, start=0, rows=1), Span(seat=long, start=9, rows=1)]).groups
    assert group.blocks.tolist() == [7, 7, 7, 2, 3, 4]
