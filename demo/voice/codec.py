"""The demo's codec: the nearest of some thousand pairs of mel frames, found by k-means.

Fifty codes a second, one for two frames. Code 0 means "no code" to the DiT's guidance, so centroid i has id
i + 1; the ids lie within the real model's 8,192.
"""

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from demo.saving import save_whole
from demo.voice.corpus import Speech
from demo.voice.spectra import MELS, measure_mel

CENTROIDS: Final = 2048
_ROUNDS: Final = 25
_SAMPLE: Final = 200_000
_FILE: Final = "codec.pt"
_CENTROIDS_FILE: Final = "centroids.pt"
SERVED_CENTROIDS: Final = Path(__file__).parents[1] / _CENTROIDS_FILE
"""Those that the package's checkpoint was trained with."""
_ROWS: Final = 16_384


def learn_codec(speech: Speech, folder: Path) -> None:
    """Find the centroids, if there are none yet, and code the corpus; does nothing if that is done."""
    path, known = folder / _FILE, folder / _CENTROIDS_FILE
    if path.exists():
        return
    pairs = speech.mel.view(-1, 2 * MELS)
    if known.exists():
        centroids = torch.load(known, weights_only=True)["centroids"].to(pairs)
    else:
        centroids = _find_centroids(pairs)
        save_whole({"centroids": centroids.cpu()}, known)
    codes = encode(pairs, centroids)
    error = float((pairs - centroids[codes - 1]).abs().mean())
    print(f"codec: {CENTROIDS} centroids, mean error {error:.3f} of a unit variance", flush=True)
    save_whole({"centroids": centroids.cpu(), "codes": codes.to(torch.int16).cpu()}, path)


def encode(pairs: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Pairs of mel frames (n, 160) -> codes (n,)."""
    return _nearest(pairs, centroids) + 1


def encode_wave(wave: NDArray[np.float32], centroids: torch.Tensor) -> torch.Tensor:
    """24 kHz mono, a whole number of codes long -> its codes."""
    return encode(measure_mel(torch.from_numpy(wave)[None]).reshape(-1, 2 * MELS), centroids)


@cache
def read_centroids(folder: Path) -> torch.Tensor:
    """(2048, 160), of this folder."""
    held: torch.Tensor = torch.load(folder / _CENTROIDS_FILE, weights_only=True)["centroids"]
    return held.float()


def read_codec(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Centroids (2048, 160) and the corpus's codes (frames / 2,)."""
    held = torch.load(folder / _FILE, weights_only=True)
    return held["centroids"], held["codes"].long()


def _find_centroids(pairs: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator(pairs.device).manual_seed(3)
    chosen = torch.randperm(len(pairs), generator=generator, device=pairs.device)[:_SAMPLE]
    sample = pairs[chosen]
    centroids = sample[:CENTROIDS].clone()
    for _ in range(_ROUNDS):
        nearest = _nearest(sample, centroids)
        counts = torch.bincount(nearest, minlength=CENTROIDS)
        sums = torch.zeros_like(centroids).index_add_(0, nearest, sample)
        strays = sample[torch.randint(len(sample), (CENTROIDS,), generator=generator, device=pairs.device)]
        centroids = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], strays)
    return centroids


def _nearest(pairs: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    norms = centroids.square().sum(1)
    return torch.cat([(norms - 2 * rows @ centroids.T).argmin(1) for rows in torch.split(pairs, _ROWS)])
