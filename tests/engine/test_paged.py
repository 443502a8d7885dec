"""Attention over tables, the kernel in Triton's interpreter, and steps that run by pages, on a CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tercet_engine.decoder import paged, paged_kernel
from tercet_engine.decoder.graphs import StaticInputs, batch_sizes
from tercet_engine.decoder.paged import Pages

from tests.engine.paging import draw_pages, expect
from tests.engine.test_decoder import Pair, assert_near, even_cuts


@pytest.mark.parametrize(
    ("kv_heads", "shared", "dim"), [(1, 1, 16), (2, 3, 16), (4, 1, 8), (4, 7, 128), (2, 2, 48), (1, 5, 6)]
)
@pytest.mark.parametrize("block_tokens", [1, 5, 16, 40])
def test_attention_by_tables_is_attention(kv_heads: int, shared: int, dim: int, block_tokens: int) -> None:
    """Each turn over its own keys, wherever they lie, whatever lies beyond them."""
    drawn = draw_pages(kv_heads=kv_heads, shared=shared, dim=dim, block_tokens=block_tokens)
    mixed = paged.attend(drawn.queries, drawn.memory, drawn.tables, drawn.pages)
    torch.testing.assert_close(mixed, expect(drawn), rtol=1e-5, atol=1e-5)


def test_the_kernel_is_attention() -> None:
    """In a process of its own: Triton interprets kernels only if told so before it is imported."""
    script = Path(__file__).with_name("interpret_kernel.py")
    run = subprocess.run(
        [sys.executable, "-m", f"tests.engine.{script.stem}"],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        cwd=script.parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["the", "same"] * 4


@pytest.mark.filterwarnings("ignore::UserWarning:triton.*")
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_the_kernel_compiles_for_a_gpu(dtype: str) -> None:
    """To machine code of an H100, which needs no GPU."""
    triton = pytest.importorskip("triton")
    constants = {
        "BLOCK_TOKENS": 16,
        "KV_HEADS": 4,
        "SHARED": 7,
        "ROWS": 16,
        "DIM": 128,
        "TILE": 64,
        "SPLITS": 8,
    }
    given = dict.fromkeys(("queries", "memory"), f"*{dtype}")
    given |= dict.fromkeys(("tables", "seats", "lengths"), "*i32") | dict.fromkeys(
        ("mixes", "tops", "masses"), "*fp32"
    )
    given |= {"scale": "fp32", "row_stride": "i32", "table_width": "i32"} | dict.fromkeys(
        constants, "constexpr"
    )
    source = triton.compiler.ASTSource(paged_kernel._attend_part, given, constants)
    target = triton.backends.compiler.GPUTarget("cuda", 90, 32)
    assert triton.compile(source, target=target).asm["cubin"]


def test_rows_are_written_where_their_tables_say() -> None:
    """The last key of each turn is its own."""
    pages = Pages(seats=torch.tensor([1, 0]), lengths=torch.tensor([1, 7]))
    tables = torch.tensor([[4, 2], [9, 9]], dtype=torch.int32)
    assert paged.locate(pages, tables, 4).tolist() == [36, 10]


@pytest.mark.parametrize("size", [1, 7])
def test_steps_by_pages_equal_the_references(size: int) -> None:
    """Single rows by tables, prompts in groups, in one step."""
    pair = Pair()
    cuts = [[0, 30, 31, 32, 37], [0, 1, 2, 3, 5], [0, 1], [0, 20, 21, 60, 64], [0, 5, 18, 19, 20]]
    for chosen in (even_cuts(size), cuts):
        for expected, actual in zip(pair.expected(), pair.run(chosen, 4, paged=True), strict=True):
            assert_near(actual, expected)


def test_a_padded_batch_gives_the_same_rows_and_memory() -> None:
    """What a captured step computes: the first row once more for each row that is missing."""
    pair = Pair()
    cache = pair.cache(16, paged=True)
    seats = [cache.bind((4 * turn, 4 * turn + 1, 4 * turn + 2)) for turn in range(3)]
    cache.memory.normal_()
    kept = cache.memory.clone()
    lengths = torch.tensor([5, 33, 17], dtype=torch.int32)
    rows, positions = torch.randn(3, 48), torch.randint(0, 60, (3, 3), dtype=torch.int32)
    pages = Pages(seats=torch.tensor(seats, dtype=torch.int32), lengths=lengths)
    expected = pair.run_pages(rows, positions, pages, cache)
    written = cache.memory.clone()
    cache.memory.copy_(kept)
    inputs = StaticInputs(8, 48, torch.device("cpu"), torch.float32)
    inputs.fill(8, rows + 1, positions + 1, pages)  # what an earlier step left behind
    inputs.fill(4, rows, positions, pages)
    actual = pair.run_pages(*inputs.cut(4), cache)
    assert_near(actual[:3], expected)
    assert_near(actual[3], expected[0])
    assert_near(cache.memory, written)
    assert not torch.equal(written, kept)


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (1, [1]),
        (3, [1, 2, 3]),
        (8, [1, 2, 4, 8]),
        (40, [1, 2, 4, 8, 16, 32, 40]),
        (64, [1, 2, 4, 8, 16, 32, 48, 64]),
    ],
)
def test_batches_have_a_captured_size_near_them(most: int, expected: list[int]) -> None:
    """The largest is the most turns that a stage steps."""
    assert batch_sizes(most) == expected


def test_a_cpu_decodes_by_pages_in_single_precision_alone() -> None:
    """There are no compiled kernels for other numbers: it decodes in groups then."""
    cpu = torch.device("cpu")
    assert paged.can_attend(cpu, torch.float32, 64)
    assert not paged.can_attend(cpu, torch.bfloat16, 64)
