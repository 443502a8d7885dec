"""Compiled products of a decoder's weights, against torch's own."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tercet_engine.decoder.compiled_product import CompiledProduct, FloatProduct, find_kind
from tercet_engine.decoder.compiled_tile import MANY_ROWS, WIDTH, Kind
from tercet_engine.decoder.product import build_product, can_multiply_int8
from tercet_wire.settings import Quantization
from torch.nn import functional

KINDS = {torch.float32: Kind.FLOAT32, torch.float16: Kind.FLOAT16, torch.bfloat16: Kind.BFLOAT16}
QUANTIZATIONS: list[Quantization] = ["none", *(["int8"] if can_multiply_int8() else [])]  # type: ignore[list-item]


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("outputs", [1, WIDTH, 5 * WIDTH - 3, 13 * WIDTH])
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_product_is_exact_for_any_number_of_rows(dtype: torch.dtype, outputs: int, has_bias: bool) -> None:
    """But for the order of sums."""
    weight, bias = torch.randn(outputs, 75).to(dtype).float(), torch.randn(outputs) if has_bias else None
    product = build_product(weight, bias)
    for count in (*range(1, MANY_ROWS + 2), 2 * MANY_ROWS, 3 * MANY_ROWS + 1, 21 * MANY_ROWS + 1):
        rows = torch.randn(count, 75)
        torch.testing.assert_close(product(rows), functional.linear(rows, weight, bias), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@pytest.mark.parametrize("dtype", KINDS)
def test_a_row_does_not_depend_on_who_else_is_there(dtype: torch.dtype, quantization: Quantization) -> None:
    product = build_product(torch.randn(6 * WIDTH, 64).to(dtype).float(), quantization=quantization)
    rows = torch.randn(3 * MANY_ROWS, 64)
    alone = torch.cat([product(row[None]) for row in rows])
    for count in range(1, len(rows) + 1):
        assert torch.equal(product(rows[:count]), alone[:count])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_number_of_16_bits_is_what_it_was(dtype: torch.dtype) -> None:
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    numbers = numbers[numbers.isfinite()].float()
    product = FloatProduct(numbers[:, None])
    assert find_kind(numbers) == KINDS[dtype]
    assert torch.equal(product(torch.ones(1, 1))[0], numbers)


def test_a_weight_is_kept_in_as_few_bits_as_hold_it() -> None:
    weight = torch.randn(8, 8)
    assert find_kind(weight) == Kind.FLOAT32
    assert find_kind(weight.half().float()) == Kind.FLOAT16
    assert find_kind(weight.bfloat16().float()) == Kind.BFLOAT16
    weight = weight.bfloat16().float()
    weight[3, 5] = float("nan")
    assert find_kind(weight) == Kind.FLOAT32


def test_rows_may_have_any_shape() -> None:
    weight = torch.randn(5, 8)
    product = build_product(weight)
    rows = torch.randn(2, 9, 3)[:, 1:].transpose(1, 2)
    torch.testing.assert_close(product(rows), rows @ weight.T)
    assert product(torch.empty(0, 8)).shape == (0, 5)
    assert product(rows[0]).is_contiguous()


def test_8_bits_take_inputs_by_fours() -> None:
    if not can_multiply_int8():
        pytest.skip("this CPU has no VNNI, and the engine refuses int8 on it")
    with pytest.raises(ValueError, match="four inputs at a time, and 6 are not fours"):
        build_product(torch.ones(2, 6), quantization="int8")


def test_plain_products_serve_where_none_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as in double precision, or where torch computes with another runtime."""
    weight, rows = torch.randn(7, 5), torch.randn(2, 5)
    assert isinstance(build_product(weight), CompiledProduct)
    torch.testing.assert_close(
        build_product(weight.double())(rows.double()), rows.double() @ weight.T.double()
    )
    monkeypatch.setattr("tercet_engine.decoder.product.has_runtime", lambda: False)
    plain = build_product(weight)
    assert not isinstance(plain, CompiledProduct)
    torch.testing.assert_close(plain(rows), rows @ weight.T)


COUNT_HITS = """
from tercet_engine.code2wav import compiled_anti_alias, compiled_dit
from tercet_engine.code2wav.compiled_block_attention import compile_block_attention
from tercet_engine.code2wav.compiled_convolution import compile_convolution
from tercet_engine.decoder import compiled, compiled_int8, compiled_peaks, compiled_team
from tercet_engine.decoder.compiled_attention import compile_attention
from tercet_engine.decoder.compiled_product import compile_product
made = [compiled.norm, compiled.gate, compiled.find_angles, compiled_team.run_calls]
made += [compiled_anti_alias.activate, compiled_int8.round_rows, compiled_int8.scale_rows]
made += [compiled_dit.norm, compiled_dit.gelu, compiled_peaks.find_peaks]
made += [compile_block_attention(8), compile_block_attention(16)]
made += [compile_convolution(4), compile_convolution(1)]
made += [compile_attention(2, 8), compile_attention(1, 8), *map(compile_product, range(3))]
print(sum(function.cache_hits for function in made), len(made))
"""


def count_hits(cache: Path) -> str:
    environment = {"XDG_CACHE_HOME": str(cache), "PATH": ""}
    ran = subprocess.run(
        [sys.executable, "-c", COUNT_HITS],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return ran.stdout.strip()


def test_what_was_compiled_is_found_again(tmp_path: Path) -> None:
    assert count_hits(tmp_path) == "0 19"
    assert count_hits(tmp_path) == "19 19"


def test_a_torn_cache_is_not_used(tmp_path: Path) -> None:
    count_hits(tmp_path)
    for index in tmp_path.rglob("*.nbi"):
        index.write_bytes(b"")
    assert count_hits(tmp_path) == "0 19"


def test_variants_of_a_function_are_kept_apart(tmp_path: Path) -> None:
    """Two processes that write one file at a time could leave one's code under the other's name."""
    count_hits(tmp_path)
    indices = [path.name.split("-")[0] for path in tmp_path.rglob("*.nbi")]
    assert len(indices) == 19
    assert {"compiled_product.multiply_0", "compiled_attention.attend_rows_2_8"} <= set(indices)


def test_where_nothing_can_be_kept_all_is_compiled(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert count_hits(tmp_path / "file") == "0 19"
