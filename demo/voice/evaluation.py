"""Words, ends and lengths of the demo's speech on sentences that it was not trained on.

A listener (pocketsphinx) writes down the original of espeak-ng and what the product's engines say, whole
and in windows, with every solver. The engines run in this process, with the settings that a deployment
gives them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tercet_engine.stage import ThinkerInput
from tercet_wire.messages import ChatMessage, Speech, TextPart, Turn
from tercet_wire.settings import WindowSettings

from demo.conversations.conversing import SPEECH_PROMPT
from demo.voice.codec import SERVED_CENTROIDS, encode_wave, read_centroids
from demo.voice.listening import Model, measure_quiet_end
from demo.voice.recognition import Errors, Recogniser, count_errors, split_words
from demo.voice.synthesis import Voice, Wave, synthesise

WHOLE: Final = "whole, rk4, 10 points"
DEFAULT: Final = "default windows, rk4, 10 points"
WINDOWS: Final = {
    WHOLE: WindowSettings(mode="whole"),
    DEFAULT: WindowSettings(),
    "first window of 4 codes": WindowSettings(first_codes=4),
    "default windows, rk4, 6 points": WindowSettings(points=6),
    "default windows, midpoint, 10 points": WindowSettings(solver="midpoint"),
    "default windows, midpoint, 6 points": WindowSettings(solver="midpoint", points=6),
    "first window of 16 codes, midpoint, 6 points": WindowSettings(
        solver="midpoint", points=6, first_codes=16
    ),
    "default windows, midpoint, 4 points": WindowSettings(solver="midpoint", points=4),
    "default windows, euler, 10 points": WindowSettings(solver="euler"),
    "default windows, euler, 6 points": WindowSettings(solver="euler", points=6),
}
_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A sentence that was to be said, what the thinker wrote, and how it sounds."""

    wanted: str
    voice: str
    written: str
    codes: tuple[int, ...]
    original: Wave
    turn: Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Share of replies that end soon after their last word, and of those as long as the original."""

    quiet_s: tuple[float, ...]
    lengths: tuple[float, ...]


def speak_lines(model: Model, sentences: Sequence[str], voice: Voice) -> list[Line]:
    """Ask for each sentence to be repeated."""
    lines = []
    for first in range(0, len(sentences), _AT_ONCE):
        some = sentences[first : first + _AT_ONCE]
        turns = [_ask(sentence, voice) for sentence in some]
        spoken = model.answer([ThinkerInput(turn=turn) for turn in turns])
        for sentence, turn, reply in zip(some, turns, spoken, strict=True):
            original = synthesise(sentence, voice)
            lines.append(
                Line(
                    wanted=sentence,
                    voice=voice.name,
                    written=reply.text,
                    codes=reply.codes,
                    original=original,
                    turn=turn,
                )
            )
    return lines


def hear_originals(recogniser: Recogniser, lines: Sequence[Line]) -> Errors:
    return hear_waves(recogniser, lines, (line.original for line in lines))


def hear_recoded(recogniser: Recogniser, model: Model, lines: Sequence[Line], windows: str) -> Errors:
    """What code2wav makes of the originals' own codes: no thinker or talker can do better."""
    centroids = read_centroids(SERVED_CENTROIDS.parent)

    def recode(line: Line) -> Wave:
        return model.render(windows, line.turn, tuple(encode_wave(line.original, centroids).tolist()))

    return hear_waves(recogniser, lines, map(recode, lines))


def hear(recogniser: Recogniser, model: Model, lines: Sequence[Line], windows: str) -> Errors:
    return hear_waves(recogniser, lines, (model.render(windows, line.turn, line.codes) for line in lines))


def hear_waves(recogniser: Recogniser, lines: Sequence[Line], waves: Iterable[Wave]) -> Errors:
    return sum(
        (
            count_errors(split_words(line.wanted), recogniser.hear(wave))
            for line, wave in zip(lines, waves, strict=True)
        ),
        Errors(),
    )


def measure_ends(model: Model, lines: Sequence[Line], windows: str) -> Ends:
    waves = [model.render(windows, line.turn, line.codes) for line in lines]
    return Ends(
        quiet_s=tuple(measure_quiet_end(wave) for wave in waves),
        lengths=tuple(len(wave) / len(line.original) for wave, line in zip(waves, lines, strict=True)),
    )


def _ask(sentence: str, voice: Voice) -> Turn:
    system = ChatMessage(role="system", content=(TextPart(text=SPEECH_PROMPT),))
    user = ChatMessage(role="user", content=(TextPart(text=f"Repeat after me: {sentence}"),))
    return Turn(messages=(system, user), speech=Speech(voice=voice.name))
