"""The spoken corpus: every sentence in every voice, as sound and as mel, one after the other in one file."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import torch

from demo.saving import save_whole
from demo.voice.spectra import HOP, measure_mel
from demo.voice.synthesis import CHELSIES_SHARE, VOICES, synthesise_all

_FILE: Final = "speech.pt"
_BATCH_S: Final = 60
_RATE: Final = 24_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """Utterance i is in voice `voices[i]` and covers frames starts[i] to starts[i + 1]."""

    voices: torch.Tensor  # (utterances,) index into VOICES
    starts: torch.Tensor  # (utterances + 1,) in frames, all even
    wave: torch.Tensor  # (samples,) int16
    mel: torch.Tensor  # (frames, 80)

    def to(self, device: torch.device) -> "Speech":
        return Speech(**{each.name: getattr(self, each.name).to(device) for each in fields(self)})


def make_speech(texts: Sequence[str], folder: Path, workers: int, device: torch.device) -> None:
    """Speak `texts` in all voices and write the corpus; does nothing if it is there."""
    path = folder / _FILE
    if path.exists():
        return
    waves, voices = [], []
    for number, voice in enumerate(VOICES):
        for wave in synthesise_all(texts, voice, workers):
            waves.append((wave * 32_767).round().clip(-32_768, 32_767).astype(np.int16))
            voices.append(number)
    lengths = torch.tensor([len(wave) // HOP for wave in waves])
    starts = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    mels = [measure_mel(_as_float(torch.from_numpy(wave).to(device))[None])[0].cpu() for wave in waves]
    print(f"speech: {len(waves)} utterances, {int(starts[-1]) / 360_000:.1f} hours", flush=True)
    held = {
        "voices": torch.tensor(voices),
        "starts": starts,
        "wave": torch.from_numpy(np.concatenate(waves)),
        "mel": torch.cat(mels),
    }
    save_whole(held, path)


def read_speech(folder: Path) -> Speech:
    held = torch.load(folder / _FILE, weights_only=True, mmap=True)
    return Speech(**{each.name: held[each.name] for each in fields(Speech)})


def draw_frames(speech: Speech, count: int, width: int) -> torch.Tensor:
    """(count,) frames from each of which on `width` more are there, `CHELSIES_SHARE` of them hers: all of her
    utterances stand before Ethan's.
    """
    share = torch.rand(count, device=speech.mel.device)
    ethans = int(speech.starts[int((speech.voices == 1).nonzero()[0])])
    end = int(speech.starts[-1]) - width
    hers = share / CHELSIES_SHARE * ethans
    his = ethans + (share - CHELSIES_SHARE) / (1 - CHELSIES_SHARE) * (end - ethans)
    return torch.where(share < CHELSIES_SHARE, hers, his).long()


def cut_waves(speech: Speech, frames: torch.Tensor, count: int) -> torch.Tensor:
    """(batch, count * 240) samples in [-1, 1] from each of the given frames on."""
    at = frames[:, None] * HOP + torch.arange(count * HOP, device=frames.device)
    return _as_float(speech.wave[at])


def cut_mels(speech: Speech, frames: torch.Tensor, count: int) -> torch.Tensor:
    """(batch, count, 80) from each of the given frames on."""
    return speech.mel[frames[:, None] + torch.arange(count, device=frames.device)]


def _as_float(wave: torch.Tensor) -> torch.Tensor:
    return wave.float() / 32_768
