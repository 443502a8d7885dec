"""The spoken corpus: every sentence in every voice, as sound and as mel, one after the other in one file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from demo.voice.spectra import HOP, measure_mel
from demo.voice.synthesis import VOICES, synthesise_all

_FILE: Final = "speech.pt"
_BATCH_S: Final = 60
_RATE: Final = 24_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """Utterance i says `texts[texts_of[i]]` in voice `voices[i]` and covers frames starts[i] to starts[i +
    1].
    """

    texts: list[str]
    texts_of: torch.Tensor  # (utterances,)
    voices: torch.Tensor  # (utterances,) index into VOICES
    starts: torch.Tensor  # (utterances + 1,) in frames, all even
    wave: torch.Tensor  # (samples,) int16
    mel: torch.Tensor  # (frames, 80)

    def to(self, device: torch.device) -> "Speech":
        moved = {
            name: getattr(self, name).to(device) for name in ("texts_of", "voices", "starts", "wave", "mel")
        }
        return Speech(texts=self.texts, **moved)


def make_speech(texts: Sequence[str], folder: Path, workers: int, device: torch.device) -> None:
    """Speak `texts` in all voices and write the corpus; does nothing if it is there."""
    path = folder / _FILE
    if path.exists():
        return
    waves, texts_of, voices = [], [], []
    for number, voice in enumerate(VOICES):
        for index, wave in enumerate(synthesise_all(texts, voice, workers)):
            waves.append((wave * 32_767).round().clip(-32_768, 32_767).astype(np.int16))
            texts_of.append(index)
            voices.append(number)
    lengths = torch.tensor([len(wave) // HOP for wave in waves])
    starts = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    mels = [measure_mel(_as_float(torch.from_numpy(wave).to(device))[None])[0].cpu() for wave in waves]
    print(f"speech: {len(waves)} utterances, {int(starts[-1]) / 360_000:.1f} hours", flush=True)
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "texts": json.dumps(list(texts)),
            "texts_of": torch.tensor(texts_of),
            "voices": torch.tensor(voices),
            "starts": starts,
            "wave": torch.from_numpy(np.concatenate(waves)),
            "mel": torch.cat(mels),
        },
        partial,
    )
    partial.rename(path)


def read_speech(folder: Path) -> Speech:
    held = torch.load(folder / _FILE, weights_only=True, mmap=True)
    return Speech(**{**held, "texts": json.loads(held["texts"])})


def cut_waves(speech: Speech, frames: torch.Tensor, count: int) -> torch.Tensor:
    """(batch, count * 240) samples in [-1, 1] from each of the given frames on."""
    at = frames[:, None] * HOP + torch.arange(count * HOP, device=frames.device)
    return _as_float(speech.wave[at])


def cut_mels(speech: Speech, frames: torch.Tensor, count: int) -> torch.Tensor:
    """(batch, count, 80) from each of the given frames on."""
    return speech.mel[frames[:, None] + torch.arange(count, device=frames.device)]


def _as_float(wave: torch.Tensor) -> torch.Tensor:
    return wave.float() / 32_768
