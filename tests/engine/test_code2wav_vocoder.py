"""The vocoder on stretches of mel against transformers' on the whole of it."""

import numpy as np
import pytest
import torch
from tercet_engine.code2wav import anti_alias, residual
from tercet_engine.code2wav.vocoder import (
    FADE_SAMPLES,
    PIECE_FRAMES,
    SAMPLES_PER_FRAME,
    Stretch,
    Vocoder,
    fade_over,
    to_pcm,
)
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniBigVGANConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavBigVGANModel

CONTEXT = 16
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def net() -> Qwen2_5OmniToken2WavBigVGANModel:
    """Random and narrow, with the real model's rates and kernels, hence its field of view."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Qwen2_5OmniToken2WavBigVGANModel(Qwen2_5OmniBigVGANConfig(upsample_initial_channel=64))
        for module in net.modules():
            if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
                module.reset_parameters()  # the class's own start leaves it all but silent
    return net.eval()


@pytest.fixture(scope="module")
def vocoder(net: Qwen2_5OmniToken2WavBigVGANModel) -> Vocoder:
    """Ours, from the same weights."""
    return Vocoder(net, torch.device("cpu"))


def draw_mel(frames: int, seed: int = 3) -> torch.Tensor:
    """As loud as speech is, so that the input's clamp leaves it alone."""
    return torch.randn(frames, 80, generator=torch.Generator().manual_seed(seed)) * 0.5 - 5


def reference(net: Qwen2_5OmniToken2WavBigVGANModel, mel: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        wave: torch.Tensor = net(mel.T[None])
    return wave


def whole(mel: torch.Tensor) -> Stretch:
    return Stretch(mel=mel, left=0, right=0)


def test_a_batch_renders_each_stretch_as_transformers_does(
    net: Qwen2_5OmniToken2WavBigVGANModel, vocoder: Vocoder
) -> None:
    """Equal and different lengths; the order of the stretches is kept."""
    mels = [draw_mel(frames, seed) for seed, frames in enumerate([30, 12, 30, 1])]
    rendered = vocoder.render([whole(mel) for mel in mels])
    for mel, got in zip(mels, rendered, strict=True):
        assert len(got.wave) == len(mel) * SAMPLES_PER_FRAME
        torch.testing.assert_close(got.wave, reference(net, mel), atol=TOLERANCE, rtol=0)


def test_plain_layers_render_as_transformers_does(
    net: Qwen2_5OmniToken2WavBigVGANModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a GPU, and of a CPU where none can be compiled."""
    for module in (anti_alias, residual):
        monkeypatch.setattr(module, "has_runtime", lambda: False)
    mel = draw_mel(20)
    (rendered,) = Vocoder(net, torch.device("cpu")).render([whole(mel)])
    torch.testing.assert_close(rendered.wave, reference(net, mel), atol=TOLERANCE, rtol=0)


def test_recorded_shapes_render_as_transformers_does(net: Qwen2_5OmniToken2WavBigVGANModel) -> None:
    """The third time a shape comes it is replayed; batches are padded. On a CPU the replay computes anew."""
    recorded = Vocoder(net, torch.device("cpu"), recorded=True)
    for seed in range(3):
        mels = [draw_mel(frames, 10 * seed + number) for number, frames in enumerate([20, 20, 9, 20])]
        for mel, got in zip(mels, recorded.render([whole(mel) for mel in mels]), strict=True):
            torch.testing.assert_close(got.wave, reference(net, mel), atol=TOLERANCE, rtol=0)


def test_stretches_with_context_join_without_a_seam(
    net: Qwen2_5OmniToken2WavBigVGANModel, vocoder: Vocoder
) -> None:
    """Trimmed, they are the whole; the tail of one is the beginning of the next."""
    mel = draw_mel(72)
    want = reference(net, mel)
    stretches = [
        Stretch(mel=mel[: 24 + CONTEXT], left=0, right=CONTEXT),
        Stretch(mel=mel[24 - CONTEXT : 48 + CONTEXT], left=CONTEXT, right=CONTEXT),
        Stretch(mel=mel[48 - CONTEXT :], left=CONTEXT, right=0),
    ]
    first, second, third = vocoder.render(stretches)
    joined = torch.cat([first.wave, second.wave, third.wave])
    torch.testing.assert_close(joined, want, atol=1e-4, rtol=0)
    torch.testing.assert_close(first.tail, second.wave[:FADE_SAMPLES], atol=1e-4, rtol=0)
    assert len(third.tail) == 0


def test_a_long_stretch_is_rendered_in_pieces_that_nobody_hears(
    net: Qwen2_5OmniToken2WavBigVGANModel, vocoder: Vocoder
) -> None:
    """Memory must not grow with the length of a reply, and the sound must not change."""
    mel = draw_mel(PIECE_FRAMES + 100)
    (rendered,) = vocoder.render([whole(mel)])
    torch.testing.assert_close(rendered.wave, reference(net, mel), atol=TOLERANCE, rtol=0)


def test_a_fade_begins_with_the_old_sound_and_ends_with_the_new() -> None:
    """From the tail, evenly, to the wave, which goes on untouched."""
    faded = fade_over(torch.ones(3), torch.zeros(5))
    assert faded.tolist() == [0.75, 0.5, 0.25, 0.0, 0.0]


@pytest.mark.parametrize(("tail", "wave"), [(0, 4), (4, 0), (6, 4)])
def test_a_fade_keeps_the_length_of_the_new_sound(tail: int, wave: int) -> None:
    """Also when one of the two is short."""
    assert len(fade_over(torch.ones(tail), torch.zeros(wave))) == wave


def test_what_is_no_number_is_no_sound() -> None:
    """As 16-bit it would be silence, and a broken network would go unnoticed."""
    with pytest.raises(ArithmeticError, match="not made of numbers"):
        to_pcm(torch.tensor([0.5, float("nan")]))


def test_pcm_is_rounded_and_clipped() -> None:
    """To the nearest value, and never wrapped around."""
    wave = torch.tensor([0.0, 0.6 / 32767, -0.6 / 32767, 1.0, -1.0, 1.5, -1.5])
    pcm = to_pcm(wave)
    assert pcm.dtype == np.int16
    assert pcm.tolist() == [0, 1, -1, 32767, -32767, 32767, -32768]
