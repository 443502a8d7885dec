"""BigVGAN's activation, compiled and as products, against transformers'."""

from typing import Any

import pytest
import torch
from tercet_engine.code2wav import anti_alias
from tercet_engine.code2wav.anti_alias import AntiAliased, build_filters
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5OmniAntiAliasedActivation1d,
    Qwen2_5OmniSnakeBeta,
)

CHANNELS = 5
CPU = torch.device("cpu")


@pytest.fixture(params=["compiled", "products"])
def parties(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, AntiAliased]:
    """The reference and ours."""
    torch.manual_seed(0)
    net = Qwen2_5OmniAntiAliasedActivation1d(Qwen2_5OmniSnakeBeta(CHANNELS)).eval()
    for parameter in net.parameters():
        parameter.requires_grad_(requires_grad=False).normal_()
    if request.param == "products":
        monkeypatch.setattr(anti_alias, "has_runtime", lambda: False)
    ours = AntiAliased(net, build_filters(net, CPU), CPU)
    assert (ours._compiled is not None) == (request.param == "compiled")
    return net, ours


@pytest.mark.parametrize("samples", [1, 2, 3, 7, 100, 1023, 1024, 1025, 2500])
def test_it_bends_as_transformers_does(parties: tuple[Any, AntiAliased], samples: int) -> None:
    """Also where a stretch ends, and where the signal is shorter than a filter; loud ones as well."""
    reference, ours = parties
    for loudness in (0.1, 3.0, 100.0):
        signal = loudness * torch.randn(3, CHANNELS, samples)
        expected = reference(signal) * ours.scale[:, None]
        torch.testing.assert_close(ours(signal), expected, rtol=1e-4, atol=3e-5 * max(1.0, loudness))


@pytest.mark.parametrize("samples", [1, 7, 1024, 2500])
def test_it_pads_with_silence(parties: tuple[Any, AntiAliased], samples: int) -> None:
    """For the convolution that follows."""
    _, ours = parties
    signal = torch.randn(3, CHANNELS, samples)
    padded = ours(signal, 4)
    assert padded.shape == (3, CHANNELS, samples + 8)
    assert torch.equal(padded[..., 4:-4], ours(signal))
    assert not padded[..., :4].any()
    assert not padded[..., -4:].any()


def test_channels_do_not_have_to_lie_side_by_side(parties: tuple[Any, AntiAliased]) -> None:
    reference, ours = parties
    signal = torch.randn(2, 40, CHANNELS).transpose(1, 2)
    torch.testing.assert_close(ours(signal), reference(signal) * ours.scale[:, None], rtol=1e-4, atol=3e-5)


def test_what_is_no_number_stays_none(parties: tuple[Any, AntiAliased]) -> None:
    """In its own channel only."""
    _, ours = parties
    signal = torch.randn(1, CHANNELS, 60)
    signal[0, 2, 30] = float("nan")
    assert ours(signal).isnan().any(-1).tolist() == [[False, False, True, False, False]]


def test_a_signal_of_other_channels_is_refused() -> None:
    net = Qwen2_5OmniAntiAliasedActivation1d(Qwen2_5OmniSnakeBeta(CHANNELS)).eval()
    ours = AntiAliased(net, build_filters(net, CPU), CPU)
    with pytest.raises(ValueError, match=f"one of {CHANNELS} channels, not of 4"):
        ours(torch.randn(1, 4, 60))
