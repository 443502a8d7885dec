"""The decoder against transformers' own Qwen2 text model, on random weights."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from tercet_engine.decoder.blocks import BlockPool
from tercet_engine.decoder.kv import KVCache, Layout, Span, order_spans
from tercet_engine.decoder.linear import build_linear
from tercet_engine.decoder.model import Decoder
from tercet_engine.decoder.paged import Pages
from tercet_engine.decoder.product import build_product, can_multiply_int8
from tercet_engine.decoder.shape import read_shape
from tercet_wire.settings import Quantization
from torch.nn import functional
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniTextConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniThinkerTextModel

from tests.engine.paging import take_blocks

LENGTHS = (37, 5, 1, 64, 20)


def config(**changes: Any) -> Qwen2_5OmniTextConfig:
    sizes: dict[str, Any] = {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "vocab_size": 90,
        "max_position_embeddings": 256,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]},
    }
    return Qwen2_5OmniTextConfig(**{**sizes, **changes})


def assert_near(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


class Pair:
    """The reference and our decoder with the same weights; five turns of random rows and TMRoPE positions."""

    def __init__(self, quantization: Quantization = "none", **changes: Any) -> None:
        torch.manual_seed(3)
        settings = config(**changes)
        self.reference = Qwen2_5OmniThinkerTextModel(settings).eval().requires_grad_(requires_grad=False)
        for parameter in self.reference.parameters():
            parameter.normal_(std=0.2)
        self.head = torch.randn(90, 48)
        self.decoder = Decoder(settings, self.reference.state_dict(), self.head, quantization)
        self.rows = [torch.randn(length, 48) for length in LENGTHS]
        self.positions = [torch.randint(0, 100, (3, length)) for length in LENGTHS]

    def expected(self) -> list[torch.Tensor]:
        return [
            self.reference(inputs_embeds=rows[None], position_ids=positions[:, None]).last_hidden_state[0]
            for rows, positions in zip(self.rows, self.positions, strict=True)
        ]

    def cache(self, block_tokens: int, *, paged: bool = False) -> KVCache:
        self.pool = BlockPool(blocks=400 // block_tokens + 8, block_tokens=block_tokens)
        return KVCache(
            self.decoder.shape,
            self.pool,
            seats=len(LENGTHS),
            device=torch.device("cpu"),
            dtype=torch.float32,
            paged=paged,
        )

    def run_pages(
        self, rows: torch.Tensor, positions: torch.Tensor, pages: Pages, cache: KVCache
    ) -> torch.Tensor:
        layout = Layout(slots=None, groups=(), pages=pages)
        return self.decoder.forward(rows, positions, layout, cache)

    def run(
        self, cuts: Sequence[Sequence[int]], block_tokens: int, *, paged: bool = False, captured: bool = False
    ) -> list[torch.Tensor]:
        """Turn i advances to `cuts[i][k]` in step k."""
        cache = self.cache(block_tokens, paged=paged or captured)
        if captured:
            self.decoder.capture(cache, len(LENGTHS))
        pool = self.pool
        seats = [cache.bind(take_blocks(pool, length)) for length in LENGTHS]
        results: list[list[torch.Tensor]] = [[] for _ in LENGTHS]
        for step in range(max(map(len, cuts)) - 1):
            spans = {
                turn: Span(seat=seats[turn], start=ends[step], rows=ends[step + 1] - ends[step])
                for turn, ends in enumerate(cuts)
                if step + 1 < len(ends)
            }
            turns = [list(spans)[i] for i in order_spans(list(spans.values()))]
            for turn, part in zip(turns, self._step(cache, turns, spans), strict=True):
                results[turn].append(part)
        return [torch.cat(parts) for parts in results]

    def _step(self, cache: KVCache, turns: Sequence[int], spans: dict[int, Span]) -> Sequence[torch.Tensor]:
        rows = torch.cat([self.rows[turn][spans[turn].start : spans[turn].end] for turn in turns])
        positions = torch.cat(
            [self.positions[turn][:, spans[turn].start : spans[turn].end] for turn in turns], 1
        )
        layout = cache.plan_layout([spans[turn] for turn in turns])
        hidden = self.decoder.forward(rows, positions, layout, cache)
        return torch.split(hidden, [spans[turn].rows for turn in turns])


def even_cuts(size: int) -> list[list[int]]:
    return [[*range(0, length, size), length] for length in LENGTHS]


@pytest.mark.parametrize("block_tokens", [4, 16, 64])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_hidden_rows_equal_the_references(block_tokens: int, size: int) -> None:
    """However prompts are cut and wherever their keys lie."""
    pair = Pair()
    for expected, actual in zip(pair.expected(), pair.run(even_cuts(size), block_tokens), strict=True):
        assert_near(actual, expected)


def test_prompts_and_single_rows_share_a_step() -> None:
    """Turns join and leave at different steps."""
    pair = Pair()
    cuts = [[0, 30, 31, 32, 37], [0, 1, 2, 3, 5], [0, 1], [0, 20, 21, 60, 64], [0, 5, 18, 19, 20]]
    assert all(one < other for ends in cuts for one, other in pairwise(ends))
    for expected, actual in zip(pair.expected(), pair.run(cuts, 4), strict=True):
        assert_near(actual, expected)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"num_key_value_heads": 6}, id="a key head for each query head"),
        pytest.param({"num_key_value_heads": 1}, id="one key head"),
        pytest.param(
            {
                "head_dim": 16,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
            },
            id="a head size of its own",
        ),
    ],
)
def test_other_shapes_of_attention(changes: dict[str, Any]) -> None:
    """The talker's heads are wider than hidden / heads."""
    pair = Pair(**changes)
    for expected, actual in zip(pair.expected(), pair.run(even_cuts(9), 16), strict=True):
        assert_near(actual, expected)


def test_no_layer_is_held_twice() -> None:
    """What was fused is let go of at once: a large model would not fit beside its copy."""
    weights = Qwen2_5OmniThinkerTextModel(config()).state_dict()
    Decoder(config(), weights, torch.randn(90, 48))
    assert sorted(weights) == ["embed_tokens.weight", "norm.weight"]


def test_logits_are_the_heads() -> None:
    """In single precision, whatever the network runs in."""
    pair = Pair()
    hidden = torch.randn(3, 48)
    logits = pair.decoder.logits(hidden)
    assert logits.dtype == torch.float32
    assert_near(logits, hidden @ pair.head.T)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"use_sliding_window": True, "max_window_layers": 1}, id="sliding windows"),
        pytest.param({"hidden_act": "gelu"}, id="another activation"),
    ],
)
def test_a_network_that_is_not_served_is_refused(changes: dict[str, Any]) -> None:
    """Rather than run wrongly."""
    with pytest.raises(ValueError, match="only Qwen2 decoders"):
        read_shape(config(**changes))


@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_packed_linear_layer_is_exact(rows: int, has_bias: bool) -> None:
    """Packing changes the order of sums and nothing else."""
    weight, bias = torch.randn(70, 33), torch.randn(70) if has_bias else None
    x = torch.randn(rows, 33)
    torch.testing.assert_close(build_linear(weight, bias)(x), functional.linear(x, weight, bias))


@pytest.mark.skipif(not can_multiply_int8(), reason="this CPU has no VNNI, and the engine refuses int8 on it")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_bias", [False, True])
def test_products_in_8_bits_are_near(dtype: torch.dtype, has_bias: bool) -> None:
    """Rows far apart in size, one of them zero: each has a scale of its own."""
    weight, bias = torch.randn(24, 96).to(dtype), torch.randn(24).to(dtype) if has_bias else None
    rows = (torch.randn(4, 96) * torch.tensor([1.0, 1e3, 0.0, 1e-3])[:, None]).to(dtype)
    product = build_product(weight, bias, "int8")
    expected = functional.linear(rows.float(), weight.float())
    error = product(rows).float() - expected - (0 if bias is None else bias.float())
    assert (error.norm(dim=1) <= 0.03 * expected.norm(dim=1) + (0.02 if has_bias else 1e-9)).all()
    assert torch.equal(product(rows)[1:2], product(rows[1:2]))
    rows[1, 5] = float("nan")
    assert product(rows).isnan().all(1).tolist() == [False, True, False, False]


def test_int8_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(ValueError, match="needs a CPU with VNNI"):
        build_product(torch.ones(2, 2), quantization="int8")


def test_a_linear_layer_that_cannot_be_packed_is_plain() -> None:
    """Such as one in double precision."""
    weight, x = torch.randn(7, 5).double(), torch.randn(2, 5).double()
    torch.testing.assert_close(build_linear(weight)(x), x @ weight.T)
