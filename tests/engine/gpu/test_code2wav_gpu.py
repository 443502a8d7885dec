"""Code2wav on a GPU against itself on the CPU, and its recorded graphs against the kernels one by one."""

from collections.abc import Sequence

import pytest
import torch
from tercet_engine.checkpoint import Checkpoint, open_checkpoint
from tercet_engine.code2wav.dit import BlockDit, Decoded, Segment
from tercet_engine.code2wav.model import SpeechModel, load_model
from tercet_engine.code2wav.noise import NoiseSource
from tercet_engine.code2wav.vocoder import Stretch
from tercet_engine.code2wav.windows import FRAMES_PER_CODE
from tercet_engine.demo import build_demo
from tercet_wire.names import Stage
from tercet_wire.settings import Dtype, StageSettings, WindowSettings

pytestmark = pytest.mark.gpu

CPU, GPU = torch.device("cpu"), torch.device("cuda")
POINTS = 4
TOLERANCE = 1e-3
"""Of mel values, which go from -12 to 3: the order of additions differs, twelve evaluations long."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The tiny demo."""
    folder = tmp_path_factory.mktemp("demo") / "tiny"
    build_demo("tiny", folder)
    return open_checkpoint(folder)


def load(
    checkpoint: Checkpoint, device: torch.device, dtype: Dtype = "float32", points: int = POINTS
) -> SpeechModel:
    window = WindowSettings(points=points)
    settings = StageSettings(
        stage=Stage.CODE2WAV, checkpoint=str(checkpoint.folder), window=window, dtype=dtype
    )
    return load_model(checkpoint, settings, device)


@pytest.fixture(scope="module")
def on_cpu(checkpoint: Checkpoint) -> SpeechModel:
    """The reference here."""
    return load(checkpoint, CPU)


@pytest.fixture(scope="module")
def on_gpu(checkpoint: Checkpoint) -> SpeechModel:
    """With graphs for the schedule that is served."""
    return load(checkpoint, GPU)


def draw_segment(
    model: SpeechModel, codes: int, seed: int, past: torch.Tensor | None = None, final_blocks: int = 0
) -> Segment:
    generator = torch.Generator().manual_seed(seed)
    return Segment(
        codes=torch.randint(0, 8193, (codes,), generator=generator).tolist(),
        noise=NoiseSource(seed, model.dit.mel_dim).frames(0, codes * FRAMES_PER_CODE),
        voice=list(model.voices.values())[seed % len(model.voices)],
        past=past,
        final_blocks=final_blocks,
    )


def draw_windows(model: SpeechModel) -> list[Segment]:
    """Beginnings, middles and ends, whole blocks and parts of one, with and without a past."""
    (before,) = model.dit.decode([draw_segment(model, 24, 1, final_blocks=2)], "rk4", POINTS)
    return [
        draw_segment(model, 8, 2),
        draw_segment(model, 36, 3, final_blocks=2),
        draw_segment(model, 29, 4, before.past, final_blocks=1),
        draw_segment(model, 12, 5, before.past),
    ]


def decode(dit: BlockDit, windows: Sequence[Segment]) -> list[Decoded]:
    return dit.decode(windows, "rk4", POINTS)


def assert_close(one: Decoded, other: Decoded, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(one.mel.cpu(), other.mel.cpu(), atol=tolerance, rtol=0)
    if one.past is None or other.past is None:
        assert one.past is other.past
    else:
        torch.testing.assert_close(one.past.cpu(), other.past.cpu(), atol=tolerance, rtol=0)


def test_a_gpu_decodes_as_the_cpu_does(on_cpu: SpeechModel, on_gpu: SpeechModel) -> None:
    """In full precision, through the graphs, each window with the past of its own device."""
    for one, other in zip(
        decode(on_gpu.dit, draw_windows(on_gpu)), decode(on_cpu.dit, draw_windows(on_cpu)), strict=True
    ):
        assert_close(one, other)


def test_a_graph_decodes_as_the_kernels_one_by_one(on_gpu: SpeechModel, checkpoint: Checkpoint) -> None:
    """Batches of one and of many rows, in turn, so that none has anything left of another."""
    plain = load(checkpoint, GPU, points=POINTS + 1).dit  # so that there is no graph for POINTS
    windows = draw_windows(on_gpu)
    for batch in (windows, windows[:1], windows[1:], windows[2:3], windows):
        for one, other in zip(decode(on_gpu.dit, batch), decode(plain, batch), strict=True):
            assert_close(one, other, 1e-4)


def test_half_precision_stays_near(on_cpu: SpeechModel, checkpoint: Checkpoint) -> None:
    """As a GPU serves: the network in bfloat16, the integration and the vocoder in float32."""
    half = load(checkpoint, GPU, "bfloat16")
    for one, other in zip(
        decode(half.dit, draw_windows(half)), decode(on_cpu.dit, draw_windows(on_cpu)), strict=True
    ):
        assert float((one.mel.cpu() - other.mel).square().mean().sqrt()) < 0.05


def test_the_vocoder_renders_as_on_the_cpu(on_cpu: SpeechModel, on_gpu: SpeechModel) -> None:
    """Stretches of equal and different lengths, to a step of the PCM; from the second time as graphs."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        mels = [torch.randn(frames, 80, generator=generator) * 0.5 - 5 for frames in (40, 16, 40, 64, 40)]
        assert_rendered_alike(on_gpu, on_cpu, mels)


def assert_rendered_alike(on_gpu: SpeechModel, on_cpu: SpeechModel, mels: Sequence[torch.Tensor]) -> None:
    stretches = [Stretch(mel=mel, left=0, right=8) for mel in mels]
    on_device = [Stretch(mel=mel.to(GPU), left=0, right=8) for mel in mels]
    for one, other in zip(on_gpu.vocoder.render(on_device), on_cpu.vocoder.render(stretches), strict=True):
        torch.testing.assert_close(one.wave, other.wave, atol=1 / 32_767, rtol=0)
        torch.testing.assert_close(one.tail, other.tail, atol=1 / 32_767, rtol=0)
