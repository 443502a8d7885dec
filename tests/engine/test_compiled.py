"""Decode steps as compiled for a CPU, against transformers' decoder and torch's own functions."""

from pathlib import Path
from typing import Final

import pytest
import torch
from tercet_engine.decoder import compiled, compiled_attention, team
from tercet_engine.decoder.compiled_step import CompiledSteps
from tercet_engine.decoder.model import Decoder
from tercet_engine.decoder.paged import Pages
from tercet_engine.decoder.product import can_multiply_int8
from tercet_engine.thinker import load_thinker
from tercet_wire.names import Stage
from tercet_wire.settings import Quantization, StageSettings
from torch.nn import functional

from tests.engine.conversing import think
from tests.engine.paging import draw_pages, expect, take_blocks
from tests.engine.reference import CASES
from tests.engine.test_decoder import Pair, assert_near, even_cuts

CUTS = [[0, 30, 31, 32, 37], [0, 1, 2, 3, 5], [0, 1], [0, 20, 21, 60, 64], [0, 5, 18, 19, 20]]

TOLERANCE: Final = {"none": 1e-4, "int8": 0.05}
"""In 8 bits a rounding that falls the other way is one part in 127."""


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    "lengths", [[7] * 13, [1, 40, 3, 17, 64, 5, 9, 33, 2, 80, 21, 16, 30], [900, *[3] * 12]]
)
def test_attention_is_the_same_however_threads_share_it(lengths: list[int]) -> None:
    """Turn by turn where there are many alike, else head by head."""
    drawn = draw_pages(kv_heads=2, shared=3, dim=16, block_tokens=16, lengths=lengths)
    mixed = compiled_attention.attend(drawn.queries, drawn.memory, drawn.tables, drawn.pages)
    torch.testing.assert_close(mixed, expect(drawn), rtol=1e-5, atol=1e-5)


def test_numbers_of_another_type_are_refused() -> None:
    """Compiled code would take them for its own."""
    drawn = draw_pages(kv_heads=1, shared=1, dim=16, block_tokens=16)
    long = Pages(seats=drawn.pages.seats.long(), lengths=drawn.pages.lengths)
    with pytest.raises(ValueError, match=r"takes rows of torch\.int32"):
        compiled_attention.attend(drawn.queries, drawn.memory, drawn.tables, long)
    with pytest.raises(ValueError, match=r"takes rows of torch\.float32"):
        compiled_attention.attend(drawn.queries, drawn.memory.bfloat16(), drawn.tables, drawn.pages)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("block_tokens", [4, 5, 16])
@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_compiled_steps_equal_the_references(
    kv_heads: int, block_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without prompts in the step."""
    pair = Pair(num_key_value_heads=kv_heads)
    for expected, actual in zip(pair.expected(), pair.run(CUTS, block_tokens, captured=True), strict=True):
        assert_near(actual, expected)
    monkeypatch.delattr(Decoder, "_run")
    singles = pair.run(even_cuts(1), block_tokens, captured=True)
    for expected, actual in zip(pair.expected(), singles, strict=True):
        assert_near(actual, expected)


@pytest.mark.parametrize("quantization", ["none", *(["int8"] if can_multiply_int8() else [])])
def test_compiled_steps_equal_plain_ones_where_heads_are_not_as_wide_as_rows(
    quantization: Quantization,
) -> None:
    """As the talker's; in 8 bits as well."""
    pair = Pair(quantization, num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    plain = pair.run(even_cuts(1), 16)
    for expected, actual in zip(plain, pair.run(even_cuts(1), 16, captured=True), strict=True):
        error = TOLERANCE[quantization]
        torch.testing.assert_close(actual, expected, rtol=error, atol=error)


@pytest.mark.parametrize("place", ["row", "key", "value"])
def test_a_broken_turn_is_seen_and_leaves_the_others_alone(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair()
    cache = pair.cache(16, paged=True)
    pair.decoder.capture(cache, 3)
    monkeypatch.delattr(Decoder, "_run")
    blocks = [take_blocks(pair.pool, 40) for _ in range(3)]
    seats = torch.tensor([cache.bind(taken) for taken in blocks], dtype=torch.int32)
    cache.memory.normal_()
    kept = cache.memory.clone()
    rows, positions = torch.randn(3, 48), torch.randint(0, 60, (3, 3))
    pages = Pages(seats=seats, lengths=torch.tensor([5, 33, 17], dtype=torch.int32))
    expected = pair.run_pages(rows, positions, pages, cache)
    cache.memory.copy_(kept)
    if place == "row":
        rows[1, 7] = float("nan")
    else:
        cache.memory[1, blocks[1][1], 3, 0 if place == "key" else 2] = float("nan")
    actual = pair.run_pages(rows, positions, pages, cache)
    assert torch.equal(actual[[0, 2]], expected[[0, 2]])
    assert bool(actual[1].isnan().all())


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
    gates = torch.linspace(-120, 120, 4001)
    expected = functional.silu(gates.double()).float()
    torch.testing.assert_close(gate(gates, torch.ones(4001)), expected, rtol=1e-6, atol=1e-30)


def test_what_is_no_number_passes_a_gate() -> None:
    nan = float("nan")
    assert gate(torch.tensor([nan, -200.0, 1.0]), torch.tensor([1.0, nan, 1.0])).isnan().tolist() == [
        True,
        True,
        False,
    ]


def gate(gates: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    fused, gated = torch.cat([gates, values]), torch.empty_like(gates)
    width = len(gates)
    job = compiled.Gate(fused=fused.data_ptr(), step=2 * width, gated=gated.data_ptr(), width=width)
    team.Program([team.Call(compiled.gate.address, job)]).run(1)
    return gated


def test_a_row_of_zeros_has_a_norm() -> None:
    rows, normed, weight = torch.zeros(3, 8), torch.ones(3, 8), torch.ones(8)
    job = compiled.Norm(
        rows=rows.data_ptr(),
        more=0,
        weight=weight.data_ptr(),
        normed=normed.data_ptr(),
        width=8,
        epsilon=1e-6,
    )
    team.Program([team.Call(compiled.norm.address, job)]).run(3)
    assert not normed.any()


def test_torch_brings_a_runtime_whose_threads_can_be_used() -> None:
    """Without it steps would be a third slower, and nothing would fail."""
    assert team.has_runtime()


def test_a_stage_on_a_cpu_decodes_in_compiled_steps(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would say the same without them."""
    rows: list[int] = []
    run = CompiledSteps.run

    def noted(
        steps: CompiledSteps, inputs: torch.Tensor, positions: torch.Tensor, pages: Pages
    ) -> torch.Tensor:
        rows.append(len(inputs))
        return run(steps, inputs, positions, pages)

    monkeypatch.setattr(CompiledSteps, "run", noted)
    thinker = load_thinker(StageSettings(stage=Stage.THINKER, checkpoint=str(demo)))
    try:
        thought = think(thinker, CASES[0])
        assert thought.end() is None
    finally:
        thinker.shutdown()
    assert rows == [1] * (len(thought.tokens) - 1)
