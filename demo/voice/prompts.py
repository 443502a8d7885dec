"""The conversations that the talker learns from, as the token ids and positions that the thinker sees.

The demo's thinker hands the talker little more than its embeddings, which are drawn and not trained (see
`demo.thinker.model`), so the talker can be trained without it. Rows of all conversations stand one after
the other.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from tercet_engine.checkpoint import open_checkpoint
from torch import Tensor

from demo.conversations.scenes import Conversation
from demo.media.sounds import SpokenPool
from demo.saving import save_whole
from demo.thinker.lessons import Classroom

_FILE: Final = "prompts.pt"
_CHUNK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Conversation i has rows prompt_starts[i] to prompt_starts[i + 1], then says the bytes of its reply."""

    texts_of: Tensor  # (conversations,) index into the dictation's texts
    ids: Tensor  # (rows,)
    positions: Tensor  # (3, rows)
    prompt_starts: Tensor
    next_positions: Tensor  # (conversations,)
    replies: Tensor  # (bytes of all replies,)
    reply_starts: Tensor

    def to(self, device: torch.device) -> "Prompts":
        return Prompts(**{each.name: getattr(self, each.name).to(device) for each in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prompt:
    """Arrays, since each tensor that goes from process to process holds a file open."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    next_position: int


def write_prompts(
    talks: Sequence[Conversation], texts: Sequence[str], checkpoint: Path, folder: Path, workers: int
) -> None:
    """`texts` are the dictation's; `checkpoint` is of any demo: only its processor is used.

    Raises ValueError for a reply that is not dictated.
    """
    numbers = {text: number for number, text in enumerate(texts)}
    if (missing := next((talk.reply for talk in talks if talk.reply not in numbers), None)) is not None:
        raise ValueError(f"not in the dictation: {missing!r}; make the dictation again, for these talks")
    chunks = [talks[first : first + _CHUNK] for first in range(0, len(talks), _CHUNK)]
    with ProcessPoolExecutor(workers) as pool:
        found = pool.map(partial(_prepare, checkpoint, folder), chunks)
        prompts = [prompt for some in found for prompt in some]
    replies = [list(talk.reply.encode()) for talk in talks]
    held = {
        "texts_of": torch.tensor([numbers[talk.reply] for talk in talks]),
        "ids": torch.from_numpy(np.concatenate([prompt.ids for prompt in prompts])),
        "positions": torch.from_numpy(np.concatenate([prompt.positions for prompt in prompts], 1)),
        "prompt_starts": _starts(len(prompt.ids) for prompt in prompts),
        "next_positions": torch.tensor([prompt.next_position for prompt in prompts]),
        "replies": torch.tensor([byte for reply in replies for byte in reply]),
        "reply_starts": _starts(len(reply) for reply in replies),
    }
    save_whole(held, folder / _FILE)


def read_prompts(folder: Path) -> Prompts:
    return Prompts(**torch.load(folder / _FILE, weights_only=True))


def _prepare(checkpoint: Path, folder: Path, talks: Sequence[Conversation]) -> list[_Prompt]:
    torch.set_num_threads(1)
    classroom = Classroom(open_checkpoint(checkpoint), SpokenPool(folder))
    prepared = (classroom.prepare(talk).prepared for talk in talks)
    return [
        _Prompt(ids=each.ids.numpy(), positions=each.positions.numpy(), next_position=each.next_position)
        for each in prepared
    ]


def _starts(lengths: Iterable[int]) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.long), torch.tensor(list(lengths)).cumsum(0)])
