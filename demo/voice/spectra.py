"""The mel spectrogram that the demo's codec, DiT and vocoder share.

100 frames a second of 80 bins, natural logarithm of the amplitude, shifted and scaled to about unit variance.
The unmodified transformers pipeline hands the DiT's output to the vocoder as it is, and this scale stays
within what BigVGAN's input stage takes; so the convention is the checkpoint's own and needs no code to undo.
"""

from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

SAMPLE_RATE_HZ: Final = 24_000
HOP: Final = 240
MELS: Final = 80
CODE_SAMPLES: Final = 2 * HOP
"""A code is two frames."""
_FFT: Final = 1024
_CENTRE: Final = -5.0
_SPREAD: Final = 3.0
_FLOOR: Final = 1e-5


def measure_mel(wave: torch.Tensor) -> torch.Tensor:
    """(batch, samples) -> (batch, frames, 80); `samples` is a multiple of 240."""
    padding = (_FFT - HOP) // 2
    padded = functional.pad(wave[:, None], (padding, padding), mode="reflect")[:, 0]
    amplitude = measure_amplitude(padded, _FFT, HOP, _FFT)
    mel = _filters(wave.device) @ amplitude
    return ((mel.clamp(min=_FLOOR).log() - _CENTRE) / _SPREAD).transpose(1, 2)


def measure_amplitude(wave: torch.Tensor, fft: int, hop: int, window: int) -> torch.Tensor:
    """(batch, samples) -> (batch, fft / 2 + 1, frames), without padding."""
    shape = _window(window, wave.device)
    spectrum = torch.stft(wave, fft, hop, window, shape, center=False, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()


@lru_cache
def _window(size: int, device: torch.device) -> torch.Tensor:
    return torch.hann_window(size, device=device)


@lru_cache
def _filters(device: torch.device) -> torch.Tensor:
    """(80, 513): Slaney's scale and area normalisation, 0 to 12 kHz, as `librosa.filters.mel`."""
    edges = _hertz(np.linspace(0.0, _slaney(SAMPLE_RATE_HZ / 2), MELS + 2))
    bins = np.linspace(0.0, SAMPLE_RATE_HZ / 2, _FFT // 2 + 1)
    widths = np.diff(edges)
    ramps = edges[:, None] - bins
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    areas = 2.0 / (edges[2:] - edges[:-2])
    return torch.tensor(triangles * areas[:, None], dtype=torch.float32, device=device)


_LINEAR_STEP: Final = 200.0 / 3
_LOG_FROM: Final = 1000.0
_LOG_STEP: Final = float(np.log(6.4)) / 27


def _slaney(hertz: float) -> float:
    """Above 1 kHz, where the scale is logarithmic."""
    return _LOG_FROM / _LINEAR_STEP + float(np.log(hertz / _LOG_FROM)) / _LOG_STEP


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    knee = _LOG_FROM / _LINEAR_STEP
    return np.where(mel < knee, mel * _LINEAR_STEP, _LOG_FROM * np.exp(_LOG_STEP * (mel - knee)))
