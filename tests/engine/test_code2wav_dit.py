"""The DiT by blocks against transformers' own, which is dense."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from tercet_engine.code2wav import dit as dit_module
from tercet_engine.code2wav.dit import BlockDit, Decoded, Segment, Voice
from tercet_engine.code2wav.schedule import build_schedule
from tercet_engine.code2wav.windows import BLOCK_CODES, BLOCK_FRAMES, FRAMES_PER_CODE
from tercet_wire.settings import Solver
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniDiTConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavDiTModel

MEL = 80
SPEAKER = torch.randn(1, 16, generator=torch.Generator().manual_seed(1))
REFERENCE_MEL = torch.randn(1, 60, MEL, generator=torch.Generator().manual_seed(2))
TOLERANCE = 1e-4


def build_net(
    look_ahead: tuple[int, ...] = (2,), positions: int = 1024, heads: int = 3
) -> Qwen2_5OmniToken2WavDiTModel:
    """Random, with layers strong enough that every block feels its neighbours."""
    config = Qwen2_5OmniDiTConfig(
        hidden_size=48,
        num_hidden_layers=4,
        num_attention_heads=heads,
        head_dim=16,
        emb_dim=24,
        enc_dim=16,
        enc_emb_dim=16,
        enc_channels=[16, 16, 16, 16, 48],
        enc_attention_channels=8,
        enc_se_channels=8,
        look_ahead_layers=list(look_ahead),
        look_backward_layers=[0, 3],
        max_position_embeddings=positions,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        net = Qwen2_5OmniToken2WavDiTModel(config).eval()
        for parameter in net.parameters():
            parameter.normal_(std=0.5 * parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.1)
    return net


@pytest.fixture(scope="module")
def net() -> Qwen2_5OmniToken2WavDiTModel:
    """The reference."""
    return build_net()


@pytest.fixture(scope="module")
def dit(net: Qwen2_5OmniToken2WavDiTModel) -> BlockDit:
    """Ours, from the same weights."""
    return BlockDit(net, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def voice(dit: BlockDit) -> Voice:
    """One voice of it."""
    return dit.build_voice(SPEAKER, REFERENCE_MEL)


def draw(codes: int, seed: int = 5) -> tuple[list[int], torch.Tensor]:
    """Codes, and the noise that transformers draws for them after the same seed."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, codes * FRAMES_PER_CODE, MEL, generator=generator)
    return torch.randint(0, 8193, (codes,), generator=generator).tolist(), noise[0]


def sample(net: Qwen2_5OmniToken2WavDiTModel, codes: list[int], seed: int = 5) -> torch.Tensor:
    """The reference's mel, (frames, mel)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mel: torch.Tensor = net.sample(SPEAKER, REFERENCE_MEL, torch.tensor([codes]))
    return mel[0].T


def decode_whole(
    dit: BlockDit,
    codes: list[int],
    noise: torch.Tensor,
    voice: Voice,
    *,
    solver: Solver = "rk4",
    points: int = 10,
) -> torch.Tensor:
    """All codes as one window."""
    segment = Segment(codes=codes, noise=noise, voice=voice, past=None, final_blocks=0)
    return dit.decode([segment], solver, points)[0].mel


def decode_streamed(
    dit: BlockDit, codes: list[int], noise: torch.Tensor, voice: Voice, ahead: int
) -> torch.Tensor:
    """A block at a time, each with `ahead` blocks of look-ahead."""
    mels: list[torch.Tensor] = []
    past = None
    for start in range(0, len(codes), BLOCK_CODES):
        stop = start + BLOCK_CODES * (1 + ahead)
        segment = Segment(
            codes=codes[start:stop],
            noise=noise[start * FRAMES_PER_CODE : stop * FRAMES_PER_CODE],
            voice=voice,
            past=past,
            final_blocks=int(start + BLOCK_CODES < len(codes)),
        )
        decoded = dit.decode([segment], "rk4", 10)[0]
        past = decoded.past
        mels.append(decoded.mel[:BLOCK_FRAMES])
    return torch.cat(mels)


def rmse(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).square().mean().sqrt())


@pytest.mark.parametrize("count", [1, 7, 12, 13, 24, 61])
def test_a_whole_sequence_equals_transformers(
    net: Qwen2_5OmniToken2WavDiTModel, dit: BlockDit, voice: Voice, count: int
) -> None:
    """Also for sequences that end within a block."""
    codes, noise = draw(count)
    torch.testing.assert_close(
        decode_whole(dit, codes, noise, voice), sample(net, codes), atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize("count", [1, 7, 61])
def test_plain_layers_equal_transformers_too(
    net: Qwen2_5OmniToken2WavDiTModel, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which serve where none can be compiled; a first window may be narrower than a block."""
    monkeypatch.setattr(dit_module, "has_runtime", lambda: False)
    plain = BlockDit(net, torch.device("cpu"), torch.float32)
    voice = plain.build_voice(SPEAKER, REFERENCE_MEL)
    codes, noise = draw(count)
    torch.testing.assert_close(
        decode_whole(plain, codes, noise, voice), sample(net, codes), atol=TOLERANCE, rtol=0
    )


@pytest.mark.usefixtures("threads")
def test_threads_share_the_layers_without_a_trace(dit: BlockDit) -> None:
    """Where windows are shorter than there are threads too."""
    batch = draw_windows(dit, points=3)
    shared = dit.decode(batch, "rk4", 3)
    torch.set_num_threads(1)
    for one, other in zip(shared, dit.decode(batch, "rk4", 3), strict=True):
        assert_same(one, other)


def test_heads_need_not_be_as_wide_as_rows() -> None:
    net = build_net(heads=2)
    dit = BlockDit(net, torch.device("cpu"), torch.float32)
    codes, noise = draw(30)
    whole = decode_whole(dit, codes, noise, dit.build_voice(SPEAKER, REFERENCE_MEL))
    torch.testing.assert_close(whole, sample(net, codes), atol=TOLERANCE, rtol=0)


def test_streaming_is_exact_where_no_layer_looks_ahead() -> None:
    """With the look-back kept for every evaluation, a block needs nothing else of the past."""
    dit = BlockDit(build_net(look_ahead=()), torch.device("cpu"), torch.float32)
    voice = dit.build_voice(SPEAKER, REFERENCE_MEL)
    codes, noise = draw(61)
    whole = decode_whole(dit, codes, noise, voice)
    streamed = decode_streamed(dit, codes, noise, voice, ahead=0)
    torch.testing.assert_close(streamed, whole, atol=TOLERANCE, rtol=0)


def test_streaming_comes_closer_with_every_block_of_look_ahead(dit: BlockDit, voice: Voice) -> None:
    """A network that looks ahead needs more than one block, for each evaluation carries the view further."""
    codes, noise = draw(61)
    whole = decode_whole(dit, codes, noise, voice)
    errors = [rmse(decode_streamed(dit, codes, noise, voice, ahead), whole) for ahead in range(4)]
    assert all(further < nearer / 3 for nearer, further in pairwise(errors[:3]))
    assert errors[3] < TOLERANCE


def draw_windows(dit: BlockDit, points: int = 10) -> list[Segment]:
    """Beginnings, middles and ends, whole blocks and parts of one, with and without a past."""
    voice, other = (dit.build_voice(sign * SPEAKER, REFERENCE_MEL) for sign in (1, -1))
    codes, noise = draw(48)
    past = dit.decode([segment(codes, noise, voice, 24, final=2)], "rk4", points)[0].past
    return [
        segment(codes, noise, voice, 8),
        segment(codes, noise, other, 36, final=2),
        segment(codes, noise, voice, 29, past=past, final=1),
        segment(codes, noise, other, 12, past=past),
        segment(codes, noise, voice, 5, past=past),
    ]


def test_windows_of_several_turns_decode_as_each_alone(dit: BlockDit) -> None:
    """In one batch."""
    batch = draw_windows(dit)
    together = dit.decode(batch, "rk4", 10)
    for one, (got,) in zip(together, (dit.decode([alone], "rk4", 10) for alone in batch), strict=True):
        assert_same(one, got)


def test_a_recorded_program_decodes_as_the_network_does(
    net: Qwen2_5OmniToken2WavDiTModel, dit: BlockDit
) -> None:
    """Padded to more rows, filled again and again, with more blocks than it has rows."""
    recorded = BlockDit(net, torch.device("cpu"), torch.float32, buckets=(2, 12))
    recorded.prepare("rk4", 3)
    windows = draw_windows(dit, points=3)
    for batch in (windows, windows[1:2], windows[:1], windows[3:], windows * 2):
        for one, other in zip(recorded.decode(batch, "rk4", 3), dit.decode(batch, "rk4", 3), strict=True):
            assert_same(one, other)


def segment(
    codes: list[int],
    noise: torch.Tensor,
    voice: Voice,
    count: int,
    *,
    past: torch.Tensor | None = None,
    final: int = 0,
) -> Segment:
    return Segment(
        codes=codes[:count],
        noise=noise[: count * FRAMES_PER_CODE],
        voice=voice,
        past=past,
        final_blocks=final,
    )


def assert_same(one: Decoded, other: Decoded) -> None:
    torch.testing.assert_close(one.mel, other.mel, atol=TOLERANCE, rtol=0)
    if one.past is None or other.past is None:
        assert one.past is other.past
    else:
        torch.testing.assert_close(one.past, other.past, atol=TOLERANCE, rtol=0)


Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def euler(velocity: Velocity, start: torch.Tensor, end: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    return state + (end - start) * velocity(start, state)


def midpoint(velocity: Velocity, start: torch.Tensor, end: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    half = (end - start) / 2
    return state + (end - start) * velocity(start + half, state + half * velocity(start, state))


STEPS = {"euler": euler, "midpoint": midpoint}


@pytest.mark.parametrize(("solver", "points"), [("euler", 6), ("midpoint", 4)])
def test_the_cheaper_solvers_do_what_their_names_say(
    net: Qwen2_5OmniToken2WavDiTModel, dit: BlockDit, voice: Voice, solver: Solver, points: int
) -> None:
    """Against steps written out over the dense network; rk4 is compared with `sample` itself."""
    codes, noise = draw(30)

    def velocity(time: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        speaker = SPEAKER[:, None].expand(-1, len(noise), -1)
        both: torch.Tensor = net(state, REFERENCE_MEL, speaker, torch.tensor([codes]), time)
        return both[:1] + 0.5 * (both[:1] - both[1:])

    even = torch.linspace(0, 1, points)
    grid = even - (torch.cos(torch.pi / 2 * even) - 1 + even)
    state = noise[None]
    with torch.no_grad():
        for start, end in pairwise(grid):
            state = STEPS[solver](velocity, start, end, state)
    got = decode_whole(dit, codes, noise, voice, solver=solver, points=points)
    torch.testing.assert_close(got, state[0], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("solver", "evaluations"), [("rk4", 36), ("midpoint", 18), ("euler", 9)])
def test_ten_points_cost_as_many_evaluations_as_the_solver_has_stages(
    solver: Solver, evaluations: int
) -> None:
    """Nine steps of four, two and one."""
    assert build_schedule(solver, 10).evaluations == evaluations


def test_codes_that_the_model_does_not_know_count_as_zero(dit: BlockDit, voice: Voice) -> None:
    """The talker's vocabulary is larger than the codec's."""
    codes, noise = draw(12)
    odd, zero = [*codes[:10], 8193, 99_999], [*codes[:10], 0, 0]
    assert torch.equal(decode_whole(dit, odd, noise, voice), decode_whole(dit, zero, noise, voice))


def test_length_has_no_limit(voice: Voice) -> None:
    """The reference refuses more frames than it has positions; only differences of positions matter."""
    net = build_net(positions=24)
    codes, noise = draw(40)
    with pytest.raises(ValueError, match="max_position_embeddings"):
        sample(net, codes)
    dit = BlockDit(net, torch.device("cpu"), torch.float32)
    longer = sample(build_net(), codes)
    torch.testing.assert_close(decode_whole(dit, codes, noise, voice), longer, atol=TOLERANCE, rtol=0)


def test_half_precision_stays_near(net: Qwen2_5OmniToken2WavDiTModel, dit: BlockDit, voice: Voice) -> None:
    """The network in bfloat16, the integration in float32."""
    half = BlockDit(net, torch.device("cpu"), torch.bfloat16)
    codes, noise = draw(30)
    got = decode_whole(half, codes, noise, half.build_voice(SPEAKER, REFERENCE_MEL))
    assert rmse(got, decode_whole(dit, codes, noise, voice)) < 0.03
