"""The vocoder's compiled convolutions against torch's."""

import pytest
import torch
from tercet_engine.code2wav.compiled_convolution import CompiledConvolution
from torch.nn import functional


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("channels", "outs"), [(80, 16), (8, 8), (3, 4), (4, 1), (5, 7)])
@pytest.mark.parametrize(("taps", "dilation"), [(1, 1), (3, 1), (7, 5)])
def test_a_convolution_is_exact_at_all_lengths(channels: int, outs: int, taps: int, dilation: int) -> None:
    """But for the order of sums: shorter than a stretch, a stretch, and whatever is left over."""
    weight, bias = torch.randn(outs, channels, taps), torch.randn(outs)
    convolve = CompiledConvolution(weight, bias, dilation)
    reach = (taps - 1) * dilation
    for samples in (1, 47, 48, 49, 80, 128, 500):
        signal = torch.randn(2, channels, samples + reach)
        expected = functional.conv1d(signal, weight, bias, dilation=dilation)
        torch.testing.assert_close(convolve(signal), expected, rtol=1e-4, atol=1e-4)


def test_a_convolution_needs_no_bias_and_no_order_in_memory() -> None:
    weight, signal = torch.randn(8, 6, 3), torch.randn(1, 300, 6).transpose(1, 2)
    torch.testing.assert_close(
        CompiledConvolution(weight, None, 1)(signal), functional.conv1d(signal, weight), rtol=1e-4, atol=1e-4
    )


def test_what_is_no_number_reaches_as_far_as_the_taps() -> None:
    """And no other of the batch."""
    convolve = CompiledConvolution(torch.randn(8, 8, 3), None, 2)
    signal = torch.randn(2, 8, 204)
    signal[0, 3, 100] = float("nan")
    broken = convolve(signal).isnan()
    assert broken[0].all(0).nonzero()[:, 0].tolist() == [96, 98, 100]
    assert broken.sum() == 3 * 8


def test_a_signal_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="one of 8 channels, not of 4"):
        CompiledConvolution(torch.randn(8, 8, 3), None, 1)(torch.randn(1, 4, 100))
