"""What the talker learns to say: many sentences in every voice, one after the other in one file, as codes.

They are many more than those whose sound the other parts learn from, since it has to learn each word beside
all others: on 8,000 sentences a code cost it 0.32 nats, on new ones 0.43.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from demo.saving import save_whole
from demo.voice.codec import encode_wave, read_centroids
from demo.voice.synthesis import VOICES, Voice, synthesise

_FILE: Final = "dictation.pt"
_CHUNK: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Dictation:
    """Utterance `text * voices + voice` has the codes from starts[i] to starts[i + 1]."""

    texts: tuple[str, ...]
    codes: Tensor  # (codes of all utterances,)
    starts: Tensor  # (utterances + 1,)

    def to(self, device: torch.device) -> "Dictation":
        return replace(self, codes=self.codes.to(device), starts=self.starts.to(device))


def write_dictation(texts: Sequence[str], folder: Path, workers: int) -> None:
    """Speak `texts` in all voices and code them."""
    spoken = list(product(texts, VOICES))
    code = partial(_code, folder)
    with ProcessPoolExecutor(workers) as pool:
        codes = list(pool.map(code, *zip(*spoken, strict=True), chunksize=_CHUNK))
    lengths = torch.tensor([len(some) for some in codes])
    starts = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    print(f"dictation: {len(codes)} utterances, {int(starts[-1]) / 180_000:.1f} hours", flush=True)
    held = {"texts": json.dumps(texts), "codes": torch.from_numpy(np.concatenate(codes)), "starts": starts}
    save_whole(held, folder / _FILE)


def read_dictation(folder: Path) -> Dictation:
    held = torch.load(folder / _FILE, weights_only=True)
    if "texts" not in held:
        raise ValueError(f"{folder / _FILE} does not hold its texts; make the dictation again")
    texts = tuple(json.loads(held["texts"]))
    return Dictation(texts=texts, codes=held["codes"].long(), starts=held["starts"])


def _code(folder: Path, text: str, voice: Voice) -> NDArray[np.int16]:
    """An array, since each tensor that goes from process to process holds a file open."""
    torch.set_num_threads(1)
    return encode_wave(synthesise(text, voice), read_centroids(folder)).numpy().astype(np.int16)
