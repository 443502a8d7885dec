"""What is shown and played in a conversation, as data; `demo.media` draws and sounds it."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["left", "right", "up", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """`count` equal shapes of one colour; all else follows from `seed`."""

    color: str
    shape: str
    count: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """`what` is a spoken text, the number of beeps, a tone or noise."""

    kind: Literal["speech", "beeps", "tone", "noise"]
    what: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One shape that moves; `question` is spoken in it, if there is one."""

    color: str
    shape: str
    direction: Direction
    seed: int
    question: str = ""


Part = str | Picture | Sound | Video


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """`kind` is what the last question is about; `topic` is finer."""

    kind: Literal["text", "picture", "sound", "video"]
    topic: str
    messages: tuple[Message, ...]
    reply: str
