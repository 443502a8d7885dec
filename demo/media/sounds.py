"""Beeps, tones, noise and words in many voices, 16 kHz mono; the words are taken from a pool made
beforehand.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from demo.conversations.scenes import Sound
from demo.voice.synthesis import Voice, synthesise

Samples = NDArray[np.float32]

RATE_HZ: Final = 16_000
_FILE: Final = "spoken.npz"
_VARIANTS: Final = (
    "en-us+m1",
    "en-us+m2",
    "en-us+m3",
    "en-us+m4",
    "en-us+m5",
    "en-us+m6",
    "en-us+m7",
    "en-us+f1",
    "en-us+f2",
    "en-us+f3",
    "en-us+f4",
    "en-gb",
    "en-gb+m2",
    "en-gb+f1",
    "en-gb+f3",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-029",
    "en-us+klatt2",
    "en-us+steph",
    "en-us+Alex",
    "en-us+Michael",
)
"""Neither of the demo's own two voices is among them."""
_SPEEDS: Final = (125, 150, 175)
_PITCHES: Final = (35, 50, 65)


class SpokenPool:
    """Texts, each in many voices."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / _FILE
        held = np.load(self.path)
        self._waves, self._starts, self._texts = held["waves"], held["starts"], held["texts"].tolist()
        self._at = {
            text: [i for i, other in enumerate(self._texts) if other == text] for text in set(self._texts)
        }

    def choose(self, random: Random, text: str) -> Samples:
        index = random.choice(self._at[text])
        wave: Samples = self._waves[self._starts[index] : self._starts[index + 1]].astype(np.float32) / 32_768
        return wave


def make_spoken_pool(texts: Sequence[str], folder: Path, workers: int) -> None:
    """Does nothing if it is there."""
    path = folder / _FILE
    if path.exists():
        return
    random = Random(5)
    jobs = [
        (
            text,
            Voice(
                name=variant,
                variant=variant,
                words_per_minute=random.choice(_SPEEDS),
                pitch=random.choice(_PITCHES),
            ),
        )
        for text in texts
        for variant in _VARIANTS
        for _ in range(2)
    ]
    with ProcessPoolExecutor(workers) as pool:
        waves = list(pool.map(_speak, *zip(*jobs, strict=True), chunksize=16))
    starts = np.concatenate([[0], np.cumsum([len(wave) for wave in waves])])
    np.savez(path, waves=np.concatenate(waves), starts=starts, texts=np.array([text for text, _ in jobs]))


def sound_out(sound: Sound, pool: SpokenPool) -> Samples:
    random = Random(sound.seed)
    match sound.kind:
        case "speech":
            wave = pool.choose(random, sound.what)
        case "beeps":
            wave = _beep(random, int(sound.what))
        case "tone":
            pitch = random.uniform(1400, 3500) if sound.what == "high" else random.uniform(110, 320)
            wave = _sine(random, pitch, random.uniform(0.5, 1.4))
        case "noise":
            wave = _noise(random, int(random.uniform(0.5, 1.5) * RATE_HZ))
    return surround(random, wave)


def surround(random: Random, wave: Samples) -> Samples:
    """Silence around it, any loudness, a little noise under it."""
    before, after = (np.zeros(int(random.uniform(0.02, 0.5) * RATE_HZ), np.float32) for _ in range(2))
    loud = np.concatenate([before, wave, after]) * random.uniform(0.25, 1.0) / max(1e-3, np.abs(wave).max())
    floor = random.choice([0.0, 0.0, random.uniform(0, 0.01)])
    mixed: Samples = (loud + floor * _noise(random, len(loud))).clip(-1, 1).astype(np.float32)
    return mixed


def _speak(text: str, voice: Voice) -> NDArray[np.int16]:
    wave = resample_poly(synthesise(text, voice), 2, 3)
    pcm: NDArray[np.int16] = (wave * 32_767).round().clip(-32_768, 32_767).astype(np.int16)
    return pcm


def _beep(random: Random, count: int) -> Samples:
    pitch, length, pause = random.uniform(500, 2000), random.uniform(0.1, 0.22), random.uniform(0.12, 0.28)
    silence = np.zeros(int(pause * RATE_HZ), np.float32)
    pieces = [piece for _ in range(count) for piece in (_sine(random, pitch, length), silence)]
    return np.concatenate(pieces[:-1])


def _sine(random: Random, pitch: float, seconds: float) -> Samples:
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    edge = np.minimum(1, np.minimum(time, seconds - time) / 0.008)
    overtone = random.choice([0.0, 0.0, 0.3])
    wave = np.sin(2 * np.pi * pitch * time) + overtone * np.sin(4 * np.pi * pitch * time)
    tone: Samples = (wave * edge).astype(np.float32)
    return tone


def _noise(random: Random, count: int) -> Samples:
    generator = np.random.default_rng(random.getrandbits(32))
    return generator.normal(0, 0.3, count).astype(np.float32)
