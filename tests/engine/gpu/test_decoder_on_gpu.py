"""The decoder on a GPU: its attention kernel and its graphs against the same in torch, step by step."""

from collections.abc import Iterator

import pytest
import torch
from tercet_engine.decoder import paged, paged_kernel
from tercet_engine.decoder.blocks import BlockPool
from tercet_engine.decoder.kv import KVCache, Layout, Span
from tercet_engine.decoder.model import Decoder
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniThinkerTextModel

from tests.engine.paging import draw_pages, expect, take_blocks
from tests.engine.test_decoder import config

pytestmark = pytest.mark.gpu

TURNS = 6
HIDDEN = 64


@pytest.fixture(autouse=True)
def single_precision() -> Iterator[None]:
    """TF32 would hide mistakes."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(
    ("kv_heads", "shared", "dim"), [(4, 7, 128), (2, 8, 128), (4, 3, 128), (2, 7, 64), (1, 20, 16)]
)
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
def test_the_kernel_is_attention(
    kv_heads: int, shared: int, dim: int, dtype: torch.dtype, near: float
) -> None:
    """In the shapes of thinker and talker of 7B and 3B, against torch on the CPU."""
    drawn = draw_pages(kv_heads=kv_heads, shared=shared, dim=dim, block_tokens=16)
    there = drawn.to(torch.device("cuda"), dtype)
    pages = there.pages
    mixed = paged_kernel.attend(there.queries, there.memory, there.tables, pages.seats, pages.lengths)
    torch.testing.assert_close(mixed.float().cpu(), expect(drawn), rtol=near, atol=near)


def test_a_gpu_can_attend_by_pages() -> None:
    """Else every step runs kernel by kernel: a C compiler or Python's headers are missing."""
    assert paged.can_attend(torch.device("cuda"), torch.bfloat16, 128)


class World:
    """One decoder on one device, with the same weights and turns everywhere."""

    def __init__(self, device: torch.device, *, paged: bool, captured: bool) -> None:
        torch.manual_seed(5)
        settings = config(
            hidden_size=HIDDEN,
            num_attention_heads=4,
            num_key_value_heads=2,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
        )
        model = Qwen2_5OmniThinkerTextModel(settings).eval().requires_grad_(requires_grad=False)
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
        weights = {name: tensor.to(device) for name, tensor in model.state_dict().items()}
        self.device = device
        self.decoder = Decoder(settings, weights, torch.randn(90, HIDDEN).to(device))
        pool = BlockPool(blocks=64, block_tokens=16)
        self.cache = KVCache(
            self.decoder.shape, pool, seats=TURNS, device=device, dtype=torch.float32, paged=paged
        )
        if captured:
            self.decoder.capture(self.cache, TURNS)
        self.seats = [self.cache.bind(take_blocks(pool, 16 * (turn + 3))) for turn in range(TURNS)]

    @torch.inference_mode()
    def run(self) -> list[torch.Tensor]:
        """Prompts of several lengths, then steps of fewer and fewer turns, and a prompt beside others."""
        generator = torch.Generator().manual_seed(6)
        fed = [0] * TURNS
        results = []
        prompts = [(turn, 7 * turn + 3) for turn in range(TURNS - 1)]
        steps = [[prompt] for prompt in prompts]
        steps += [[(turn, 1) for turn in range(count)] for count in (5, 4, 3, 2, 1, 5)]
        steps += [[(0, 1), (1, 1), (TURNS - 1, 9)], [(turn, 1) for turn in range(TURNS)]]
        for shares in steps:
            step = sorted(shares, key=lambda share: (share[1] > 1, fed[share[0]]))  # as `order_spans` would
            rows = torch.randn(sum(count for _, count in step), HIDDEN, generator=generator).to(self.device)
            places = torch.randint(0, 60, (3, len(rows)), generator=generator, dtype=torch.int32)
            spans = [Span(seat=self.seats[turn], start=fed[turn], rows=count) for turn, count in step]
            layout: Layout = self.cache.plan_layout(spans)
            hidden = self.decoder.forward(rows, places.to(self.device), layout, self.cache)
            results.append(hidden.clone().cpu())
            for turn, count in step:
                fed[turn] += count
        return results


@pytest.mark.parametrize("captured", [False, True])
def test_steps_equal_those_of_a_cpu(captured: bool) -> None:
    """Kernel by kernel, and replayed; batches between the captured sizes are padded."""
    expected = World(torch.device("cpu"), paged=False, captured=False).run()
    actual = World(torch.device("cuda"), paged=True, captured=captured).run()
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_replay_equals_the_kernels_one_by_one() -> None:
    """The same kernels in the same order: a padded batch alone may choose another."""
    eager = World(torch.device("cuda"), paged=True, captured=False).run()
    replayed = World(torch.device("cuda"), paged=True, captured=True).run()
    for one, other in zip(replayed, eager, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
