"""What can be told of a picture, a sound or a video by itself, without a question.

While the thinker is trained, a small head on its encoders' features has to name these, so that the encoders
learn to see and hear directly, and not only through what the decoder makes of them. The head is thrown away.
"""

from typing import Final

import torch
from torch import Tensor

from demo.conversations.scenes import Conversation, Part, Picture, Sound, Video
from demo.conversations.shown import list_spoken_texts
from demo.conversations.words import COLORS, DIRECTIONS, SHAPES

_MOST_BEEPS: Final = 5
_MOST_SHAPES: Final = 3
CONCEPTS: Final = [
    *(f"color {color}" for color in COLORS),
    *(f"shape {shape}" for shape in SHAPES),
    *(f"count {count}" for count in range(1, _MOST_SHAPES + 1)),
    *(f"direction {direction}" for direction in DIRECTIONS),
    *(f"speech {text}" for text in list_spoken_texts()),
    *(f"beeps {count}" for count in range(1, _MOST_BEEPS + 1)),
    *("tone high", "tone low", "noise "),
]
_AT: Final = {name: index for index, name in enumerate(CONCEPTS)}
COUNT: Final = len(CONCEPTS)


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
