"""What a run measures, and how much of it: read by every part, written by the command line.

`FULL` is for a lent hour, `QUICK` says in seconds whether everything works, on a GPU or on a CPU.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    rounds: int
    """Measurements that medians are taken of."""
    long_rounds: int
    """The same of whole spoken turns, and of transformers, which take seconds each."""
    thinker_turns: tuple[int, ...]
    talker_turns: tuple[int, ...]
    spoken_turns: tuple[int, ...]
    peer_turns: tuple[int, ...]
    apart_turns: tuple[int, ...]
    warm_tokens: int
    """A reply's tokens that are not timed: by then every turn has its prompt behind it."""
    timed_tokens: int
    prompt_letters: int
    long_prompt_letters: int
    prompt_lengths: tuple[int, ...]
    """In letters, of prompts whose first token is timed."""
    reply_tokens: int
    reply_codes: int
    whole_codes: int
    steady_s: int
    """Length of the turn whose last second is compared with its first."""


FULL: Final = Amounts(
    rounds=3,
    long_rounds=2,
    thinker_turns=(1, 8, 32, 64),
    talker_turns=(1, 8, 32),
    spoken_turns=(1, 2, 4, 8, 16, 32),
    peer_turns=(1, 8),
    apart_turns=(1, 8),
    warm_tokens=24,
    timed_tokens=96,
    prompt_letters=180,
    long_prompt_letters=8000,
    prompt_lengths=(256, 512, 1000, 2000, 4000, 8000, 16_000),
    reply_tokens=125,
    reply_codes=500,
    whole_codes=500,
    steady_s=61,
)
QUICK: Final = Amounts(
    rounds=1,
    long_rounds=1,
    thinker_turns=(1, 4),
    talker_turns=(1, 4),
    spoken_turns=(1, 2),
    peer_turns=(1, 2),
    apart_turns=(1,),
    warm_tokens=8,
    timed_tokens=8,
    prompt_letters=40,
    long_prompt_letters=400,
    prompt_lengths=(64, 128),
    reply_tokens=24,
    reply_codes=30,
    whole_codes=36,
    steady_s=6,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One model's run. `checkpoint` is a folder with real weights, or None for random ones."""

    model: str
    device: str
    dtype: str
    folder: Path
    checkpoint: Path | None
    quick: bool
    peer_s: float
    """Most seconds of a call of transformers."""

    @property
    def amounts(self) -> Amounts:
        return QUICK if self.quick else FULL

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    @property
    def weights(self) -> Path:
        return self.checkpoint or self.folder
