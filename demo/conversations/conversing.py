"""Whole conversations: the reserved system prompt, sometimes a persona, earlier turns, then the question.

Messages are laid out as the gateway lays them out. One in ten conversations, by a hash of its last
exchange, is held out: it is drawn for evaluation only.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Final, Literal

from demo.conversations.scenes import Conversation, Message, Part
from demo.conversations.shown import play_sound, show_picture, show_video
from demo.conversations.texts import ask_to_repeat, ask_to_repeat_alike, draw_exchange

Kind = Literal["text", "picture", "sound", "video"]

SPEECH_PROMPT: Final = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving "
    "auditory and visual inputs, as well as generating text and speech."
)
PERSONA_REPLY: Final = "Understood. I will follow these instructions in everything I say."
_PERSONAS: Final = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You are a friendly voice on the phone. Keep it short.",
    "Be polite.",
    "You speak with children.",
    "Answer in one sentence.",
    "You are the voice of a small shop.",
    "Be kind and clear.",
)
_KINDS: Final[dict[Kind, float]] = {"text": 6.0, "picture": 1.6, "sound": 1.6, "video": 1.2}
_HELD_OUT: Final = 10


def draw_conversations(
    seed: int, *, held_out: bool = False, kind: Kind | None = None
) -> Iterator[Conversation]:
    """Without end."""
    random = Random(f"{seed} {held_out} {kind}")
    while True:
        chosen = kind or random.choices(list(_KINDS), list(_KINDS.values()))[0]
        topic, parts, reply = _draw_last(random, chosen)
        if is_held_out(topic, parts, reply) == held_out:
            opening = _open(random)
            messages = (*opening, *_earlier(random), Message(role="user", parts=parts))
            yield Conversation(kind=chosen, topic=topic, messages=messages, reply=reply)


def is_held_out(topic: str, parts: tuple[Part, ...], reply: str) -> bool:
    """A sentence to repeat is held out in every form of the question; elsewhere it is the question that is
    new.
    """
    exchange = (reply,) if topic == "repeating" else (parts, reply)
    digest = hashlib.blake2b(repr(exchange).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % _HELD_OUT == 0


def draw_repeated(seed: int) -> Iterator[Conversation]:
    """Sentences to repeat, without end."""
    return (each for each in draw_conversations(seed, kind="text") if each.topic == "repeating")


def draw_alike(seed: int) -> Iterator[Conversation]:
    """Sentences to repeat whose words begin alike, without end."""
    random = Random(f"{seed} alike")
    while True:
        question, reply = ask_to_repeat_alike(random)
        if not is_held_out("repeating", (question,), reply):
            messages = (*_open(random), Message(role="user", parts=(question,)))
            yield Conversation(kind="text", topic="repeating", messages=messages, reply=reply)


def draw_talks(seed: int, mixed: int, repeated: int) -> list[Conversation]:
    """What the voice learns from: some as they come, then sentences to repeat, for their many words."""
    return [*islice(draw_conversations(seed), mixed), *islice(draw_repeated(seed), repeated)]


def draw_sentences(seed: int, count: int, *, held_out: bool) -> list[str]:
    """Distinct sentences to repeat."""
    random = Random(f"{seed} {held_out}")
    found: dict[str, None] = {}
    while len(found) < count:
        question, reply = ask_to_repeat(random)
        if is_held_out("repeating", (question,), reply) == held_out:
            found[reply] = None
    return list(found)


def _draw_last(random: Random, kind: Kind) -> tuple[str, tuple[Part, ...], str]:
    match kind:
        case "text":
            topic, (question, reply) = draw_exchange(random)
            return topic, (question,), reply
        case "picture":
            return show_picture(random)
        case "sound":
            return play_sound(random)
        case "video":
            return show_video(random)


def _draw_trained(random: Random) -> tuple[str, str]:
    while True:
        topic, (question, reply) = draw_exchange(random)
        if not is_held_out(topic, (question,), reply):
            return question, reply


def _open(random: Random) -> tuple[Message, ...]:
    system = Message(role="system", parts=(SPEECH_PROMPT,))
    if random.random() > 0.12:
        return (system,)
    persona = random.choice(_PERSONAS)
    return system, Message(role="user", parts=(persona,)), Message(role="assistant", parts=(PERSONA_REPLY,))


def _earlier(random: Random) -> Iterator[Message]:
    """Exchanges that are not held out, as the thinker learns from these replies too."""
    for _ in range(random.choice([0, 0, 0, 0, 0, 0, 1, 1, 2])):
        question, reply = _draw_trained(random)
        yield Message(role="user", parts=(question,))
        yield Message(role="assistant", parts=(reply,))
