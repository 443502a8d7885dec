"""Text to speech by espeak-ng: what the demo model learns to sound like.

espeak-ng is a formant synthesiser, so the same word always sounds the same and a small model can learn it.
"""

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from demo.voice.spectra import CODE_SAMPLES, SAMPLE_RATE_HZ

Wave = NDArray[np.float32]

_TIMEOUT_S: Final = 20
_HEADER: Final = b"data"
_QUIET: Final = 0.01
"""Below this a sample at either end counts as silence."""
_LEAD_S: Final = 0.08
"""Silence kept before the first sound: time in which the talker reads the first letters."""
_TRAIL_S: Final = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A voice of espeak-ng; `words_per_minute` is its unit of speed."""

    name: str
    variant: str
    words_per_minute: int = 150
    pitch: int = 50


VOICES: Final = (Voice(name="Chelsie", variant="en-us+f5"), Voice(name="Ethan", variant="en-us"))

CHELSIES_SHARE: Final = 0.6
"""Of what talker, DiT and vocoder learn from: her words are heard wrong more often than Ethan's."""


def synthesise(text: str, voice: Voice) -> Wave:
    """24 kHz mono in [-1, 1], a whole number of codes long; quiet ends are cut to a set length."""
    words = ("-v", voice.variant, "-s", str(voice.words_per_minute), "-p", str(voice.pitch))
    done = subprocess.run(
        [_program(), *words, "--stdout", "--stdin"],
        input=text.encode(),
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=True,
    )
    start = done.stdout.index(_HEADER) + 8
    raw = np.frombuffer(done.stdout[start : len(done.stdout) // 2 * 2], np.int16)
    wave = resample_poly(raw.astype(np.float32) / 32_768, 160, 147)  # 22,050 -> 24,000 Hz
    return _cut(wave.astype(np.float32))


def synthesise_all(texts: Iterable[str], voice: Voice, workers: int) -> Iterator[Wave]:
    """In the order of `texts`, by several processes."""
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(synthesise, texts, repeat(voice), chunksize=32)


def _program() -> str:
    found = shutil.which("espeak-ng")
    if found is None:
        raise FileNotFoundError("espeak-ng is not installed (Debian: apt-get install espeak-ng)")
    return found


def _cut(wave: Wave) -> Wave:
    loud = np.flatnonzero(np.abs(wave) > _QUIET)
    lead, trail = int(_LEAD_S * SAMPLE_RATE_HZ), int(_TRAIL_S * SAMPLE_RATE_HZ)
    padded = np.concatenate(
        [np.zeros(lead, np.float32), wave[loud[0] : loud[-1] + 1], np.zeros(trail, np.float32)]
    )
    missing = -len(padded) % CODE_SAMPLES
    return np.concatenate([padded, np.zeros(missing, np.float32)])
