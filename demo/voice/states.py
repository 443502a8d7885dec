"""What the thinker hands the talker, for many conversations whose reply was spoken: the talker's lessons.

Rows of all conversations stand one after the other. A state is the token's embedding (zero for a picture, sound or
video token) plus its last hidden state, before the projection, as in the reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

_FILE = "states.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One conversation. `reply` has a row for each byte of `text`, none for the end token."""

    text: str
    prompt: Tensor  # (p, hidden)
    positions: Tensor  # (3, p) int32
    next_position: int
    reply: Tensor  # (n, hidden)


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """Conversation i has prompt rows prompt_starts[i] to prompt_starts[i + 1], and so its reply."""

    texts_of: Tensor  # (conversations,) index into the corpus's texts
    prompts: Tensor  # (rows, hidden)
    positions: Tensor  # (3, rows)
    prompt_starts: Tensor
    next_positions: Tensor  # (conversations,)
    replies: Tensor  # (rows, hidden)
    reply_starts: Tensor

    def to(self, device: torch.device) -> "States":
        return States(**{each.name: getattr(self, each.name).to(device) for each in fields(self)})


def write_states(lessons: Sequence[Lesson], texts: Sequence[str], folder: Path) -> None:
    numbers = {text: number for number, text in enumerate(texts)}
    states = {
        "texts_of": torch.tensor([numbers[lesson.text] for lesson in lessons]),
        "prompts": torch.cat([lesson.prompt for lesson in lessons]),
        "positions": torch.cat([lesson.positions for lesson in lessons], 1),
        "prompt_starts": _starts([len(lesson.prompt) for lesson in lessons]),
        "next_positions": torch.tensor([lesson.next_position for lesson in lessons]),
        "replies": torch.cat([lesson.reply for lesson in lessons]),
        "reply_starts": _starts([len(lesson.reply) for lesson in lessons]),
    }
    partial = (folder / _FILE).with_suffix(".partial")
    torch.save(states, partial)
    partial.rename(folder / _FILE)


def has_states(folder: Path) -> bool:
    return (folder / _FILE).exists()


def read_states(folder: Path) -> States:
    return States(**torch.load(folder / _FILE, weights_only=True, mmap=True))


def _starts(lengths: list[int]) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.long), torch.tensor(lengths).cumsum(0)])
