"""Decode steps as compiled for a CPU, against transformers' decoder and torch's own functions."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tercet_engine.decoder import compiled, team
from tercet_engine.decoder.paged import Pages
from torch.nn import functional

from tests.engine.paging import take_blocks
from tests.engine.test_decoder import Pair, assert_near, even_cuts

CUTS = [[0, 30, 31, 32, 37], [0, 1, 2, 3, 5], [0, 1], [0, 20, 21, 60, 64], [0, 5, 18, 19, 20]]


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("block_tokens", [4, 5, 16])
@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_compiled_steps_equal_the_references(kv_heads: int, block_tokens: int) -> None:
    """With and without prompts in the step, and however threads share the work."""
    pair = Pair(num_key_value_heads=kv_heads)
    for cuts in (even_cuts(1), CUTS):
        for expected, actual in zip(
            pair.expected(), pair.run(cuts, block_tokens, captured=True), strict=True
        ):
            assert_near(actual, expected)


def test_a_broken_turn_is_seen_and_leaves_the_others_alone() -> None:
    pair = Pair()
    cache = pair.cache(16, paged=True)
    pair.decoder.capture(cache, 3)
    seats = [cache.bind(take_blocks(pair.pool, 40)) for _ in range(3)]
    cache.memory.normal_()
    kept = cache.memory.clone()
    rows, positions = torch.randn(3, 48), torch.randint(0, 60, (3, 3))
    pages = Pages(
        seats=torch.tensor(seats, dtype=torch.int32), lengths=torch.tensor([5, 33, 17], dtype=torch.int32)
    )
    expected = pair.run_pages(rows, positions, pages, cache)
    cache.memory.copy_(kept)
    rows[1, 7] = float("nan")
    actual = pair.run_pages(rows, positions, pages, cache)
    assert torch.equal(actual[[0, 2]], expected[[0, 2]])
    assert bool(actual[1].isnan().any())


def test_a_step_keeps_what_the_one_before_returned() -> None:
    """And the rows that it was given."""
    pair = Pair()
    cache = pair.cache(16, paged=True)
    pair.decoder.capture(cache, 1)
    seat = cache.bind(take_blocks(pair.pool, 40))
    rows, positions = torch.randn(2, 48), torch.randint(0, 60, (3, 2))
    given = rows.clone()
    results, copies = [], []
    for at in range(2):
        pages = Pages(
            seats=torch.tensor([seat], dtype=torch.int32), lengths=torch.tensor([at + 1], dtype=torch.int32)
        )
        results.append(pair.run_pages(rows[at : at + 1], positions[:, at : at + 1], pages, cache))
        copies.append(results[-1].clone())
    assert torch.equal(torch.cat(results), torch.cat(copies))
    assert torch.equal(rows, given)


def test_swiglu_is_exact_at_all_sizes() -> None:
    fused = torch.cat([torch.linspace(-120, 120, 4001), torch.ones(4001)])[None].contiguous()
    gated = torch.empty(1, 4001)
    compiled.gate(fused.numpy(), gated.numpy())
    expected = functional.silu(fused[0, :4001].double()).float()
    torch.testing.assert_close(gated[0], expected, rtol=1e-6, atol=1e-30)


def test_a_row_of_zeros_has_a_norm() -> None:
    normed = np.ones((1, 8), np.float32)
    compiled.norm(np.zeros((1, 8), np.float32), np.ones(8, np.float32), 1e-6, normed)
    assert not normed.any()


def test_torch_brings_a_runtime_whose_threads_can_be_used() -> None:
    """Without it steps would be a third slower, and nothing would fail."""
    assert team.has_runtime()
