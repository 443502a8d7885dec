"""What can be told of a picture, a sound or a video by itself, without a question.

A head on the encoders' features has to name these, so that the encoders learn to see and hear directly, and
not only through what the decoder makes of them. It is thrown away.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from demo.conversations.scenes import Conversation, Part, Picture, Sound, Video
from demo.conversations.shown import list_spoken_texts
from demo.conversations.words import COLORS, DIRECTIONS, SHAPES

_MOST_BEEPS: Final = 5
_MOST_SHAPES: Final = 3
_GROUPS: Final = (
    [f"color {color}" for color in COLORS],
    [f"shape {shape}" for shape in SHAPES],
    [f"count {count}" for count in range(1, _MOST_SHAPES + 1)],
    [f"direction {direction}" for direction in DIRECTIONS],
    [
        *(f"speech {text}" for text in list_spoken_texts()),
        *(f"beeps {count}" for count in range(1, _MOST_BEEPS + 1)),
        *("tone high", "tone low", "noise "),
    ],
)
"""Of each group at most one holds."""
CONCEPTS: Final = [name for group in _GROUPS for name in group]
_AT: Final = {name: index for index, name in enumerate(CONCEPTS)}
COUNT: Final = len(CONCEPTS)


class NamingHead(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden, COUNT)

    def forward(self, perceived: list[Tensor], concepts: Tensor) -> Tensor:
        """How wrongly it names what the encoders made of each thing, (rows, hidden) each.

        The cross entropy of each group of which one holds, by `concepts` (things, COUNT), summed, then
        averaged over the things.
        """
        if not perceived:
            return concepts.sum()
        scores = self.score(torch.stack([features.mean(0) for features in perceived])).float()
        groups = [len(group) for group in _GROUPS]
        losses = [
            -(held * functional.log_softmax(scored, -1)).sum()
            for scored, held in zip(
                torch.split(scores, groups, -1), torch.split(concepts, groups, -1), strict=True
            )
        ]
        return torch.stack(losses).sum() / len(perceived)


def list_seen(conversation: Conversation) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Of each sound (those of videos too), picture and video, in order: (COUNT,), 1 where a concept holds."""
    sounds, pictures, videos = [], [], []
    for message in conversation.messages:
        for part in message.parts:
            match part:
                case Sound():
                    sounds.append(_mark(part))
                case Picture():
                    pictures.append(_mark(part))
                case Video(question=question):
                    videos.append(_mark(part))
                    if question:
                        sounds.append(_mark(Sound(kind="speech", what=question, seed=0)))
                case _:
                    pass
    return sounds, pictures, videos


def _mark(part: Part) -> Tensor:
    marks = torch.zeros(COUNT)
    for name in _name(part):
        marks[_AT[name]] = 1
    return marks


def _name(part: Part) -> list[str]:
    match part:
        case Picture(color=color, shape=shape, count=count):
            return [f"color {color}", f"shape {shape}", f"count {count}"]
        case Video(color=color, shape=shape, direction=direction):
            return [f"color {color}", f"shape {shape}", f"direction {direction}"]
        case Sound(kind=kind, what=what):
            return [f"{kind} {what}"]
        case str():
            return []
