"""`python -m demo.evaluate [CHECKPOINT]`: what the demo says, hears and sees, on questions new to it.

Answers are the thinker's, greedy, word for word. Words are what a listener makes of the speech beside what it
makes of espeak-ng's own. Both run through the product's engines; beside them transformers speaks some of the
sentences from the same checkpoint, and the pace is that of `tercet up`.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from rich.console import Console
from rich.table import Table
from tercet_engine.demo.build import find_trained
from tercet_engine.stage import ThinkerInput
from tercet_wire.settings import Quantization

from demo.conversations.conversing import Kind, draw_conversations, draw_sentences
from demo.conversations.shown import list_spoken_texts
from demo.media.rendering import render
from demo.media.sounds import SpokenPool, make_spoken_pool
from demo.reference import Reference
from demo.serving import measure_pace
from demo.voice.evaluation import (
    DEFAULT,
    WHOLE,
    WINDOWS,
    Line,
    hear,
    hear_originals,
    hear_recoded,
    hear_waves,
    measure_ends,
    speak_lines,
)
from demo.voice.listening import Model
from demo.voice.recognition import Recogniser
from demo.voice.synthesis import VOICES

_SEED: Final = 9
_AT_ONCE: Final = 16
_GRAMMAR: Final = 4000
"""Further sentences that the listener's grammar is made of."""
_LATE_S: Final = 0.3
_QUESTION: Final = "Repeat after me: the small cat sleeps near the warm house"


def main(words: Sequence[str] | None = None) -> int:
    given = _parse(words)
    given.folder.mkdir(parents=True, exist_ok=True)
    console = Console()
    needed = {name: WINDOWS[name] for name in {*given.windows, DEFAULT, WHOLE}}
    with Model(given.checkpoint, needed, given.threads, given.quantization) as model:
        if answers := _examine(model, given) if given.answers else {}:
            _show_answers(answers, console)
        speech, lines, recogniser = _listen(model, given)
        _show_speech(speech, console)
        if peer := _compare(model, recogniser, lines, given) if given.compared else {}:
            _show_peer(peer, console)
    if pace := [] if given.no_pace else [asdict(each) for each in measure_pace(given.checkpoint, _QUESTION)]:
        _show_pace(pace, console)
    report = given.folder / "evaluation.json"
    found = {"answers": answers, "speech": speech, "transformers": peer, "pace": pace}
    report.write_text(json.dumps(found, indent=2) + "\n")
    console.print(f"written to {report}")
    return 0


def _examine(model: Model, given: argparse.Namespace) -> dict[str, Any]:
    make_spoken_pool(list_spoken_texts(), given.folder, given.workers)
    pool = SpokenPool(given.folder)
    kinds: tuple[Kind, ...] = get_args(Kind)
    return {kind: _examine_kind(model, pool, kind, given.answers) for kind in kinds}


def _examine_kind(model: Model, pool: SpokenPool, kind: Kind, count: int) -> dict[str, Any]:
    asked, right, wrong = Counter[str](), Counter[str](), []
    conversations = list(islice(draw_conversations(_SEED, held_out=True, kind=kind), count))
    for first in range(0, count, _AT_ONCE):
        some = conversations[first : first + _AT_ONCE]
        rendered = [render(conversation, pool) for conversation in some]
        inputs = [ThinkerInput(turn=each.turn, pixels=each.pixels, samples=each.samples) for each in rendered]
        for conversation, reply in zip(some, model.answer(inputs), strict=True):
            asked[conversation.topic] += 1
            if reply.text == conversation.reply:
                right[conversation.topic] += 1
            else:
                wrong.append({"wanted": conversation.reply, "written": reply.text})
    return {
        "share": right.total() / count,
        "topics": {topic: right[topic] / asked[topic] for topic in sorted(asked)},
        "wrong": wrong[:10],
    }


def _listen(
    model: Model, given: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, list[Line]], Recogniser]:
    sentences = draw_sentences(_SEED, given.sentences, held_out=True)
    recogniser = Recogniser([*draw_sentences(_SEED, _GRAMMAR, held_out=False), *sentences])
    heard: dict[str, Any] = {}
    spoken: dict[str, list[Line]] = {}
    for voice in (each for each in VOICES if each.name in given.voice):
        lines = spoken[voice.name] = speak_lines(model, sentences, voice)
        ends = measure_ends(model, lines, DEFAULT)
        heard[voice.name] = {
            "word errors": {
                "espeak-ng itself": asdict(hear_originals(recogniser, lines)),
                "its own codes, whole": asdict(hear_recoded(recogniser, model, lines, WHOLE)),
                **{name: asdict(hear(recogniser, model, lines, name)) for name in given.windows},
            },
            "ends within 0.3 s": float(np.mean([quiet <= _LATE_S for quiet in ends.quiet_s])),
            "length beside the original": [min(ends.lengths), max(ends.lengths)],
        }
    return heard, spoken, recogniser


def _compare(
    model: Model, recogniser: Recogniser, lines: dict[str, list[Line]], given: argparse.Namespace
) -> dict[str, Any]:
    """Transformers on some of the same sentences: its text, and the words in its sound beside ours."""
    reference = Reference(given.checkpoint)
    compared: dict[str, Any] = {}
    for voice, all_lines in lines.items():
        some = all_lines[: given.compared]
        replies = [reference.speak(line.turn, voice) for line in some]
        compared[voice] = {
            "same text": float(
                np.mean([text == line.written for (text, _), line in zip(replies, some, strict=True)])
            ),
            "word errors": asdict(hear_waves(recogniser, some, [wave for _, wave in replies])),
            "word errors of Tercet": asdict(hear(recogniser, model, some, WHOLE)),
        }
    return compared


def _show_answers(answers: dict[str, Any], console: Console) -> None:
    table = Table("questions about", "right", title="Answers")
    for kind, found in answers.items():
        table.add_row(kind, f"{found['share']:.1%}")
        for topic, share in found["topics"].items():
            table.add_row(f"  {topic}", f"{share:.1%}")
    console.print(table)


def _show_speech(speech: dict[str, Any], console: Console) -> None:
    table = Table("word errors", *speech, title="Words")
    for name in next(iter(speech.values()))["word errors"]:
        counts = [speech[voice]["word errors"][name] for voice in speech]
        table.add_row(name, *(f"{each['wrong'] / each['words']:.1%}" for each in counts))
    table.add_row("ends within 0.3 s", *(f"{found['ends within 0.3 s']:.1%}" for found in speech.values()))
    console.print(table)


def _show_peer(peer: dict[str, Any], console: Console) -> None:
    table = Table("the same sentences", *peer, title="Beside transformers")
    table.add_row("same text", *(f"{found['same text']:.0%}" for found in peer.values()))
    for name in ("word errors", "word errors of Tercet"):
        table.add_row(name, *(f"{each[name]['wrong'] / each[name]['words']:.1%}" for each in peer.values()))
    console.print(table)


def _show_pace(pace: list[dict[str, Any]], console: Console) -> None:
    table = Table("turns at once", "first sound", "RTF", "longest underrun", title="Served by `tercet up`")
    for each in pace:
        table.add_row(
            str(each["at_once"]),
            f"{each['ttfa_s']:.3f} s",
            f"{each['rtf']:.2f}",
            f"{each['longest_underrun_s']:.3f} s",
        )
    console.print(table)


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.evaluate", description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path, default=find_trained())
    parser.add_argument("--folder", type=Path, default=Path("demo/work"), help="where the report goes")
    parser.add_argument("--answers", type=int, default=200, help="questions of each kind")
    parser.add_argument("--sentences", type=int, default=300, help="that are spoken in each voice")
    parser.add_argument("--compared", type=int, default=20, help="of them, by transformers too")
    voices = [voice.name for voice in VOICES]
    parser.add_argument("--voice", nargs="+", default=voices, choices=voices)
    parser.add_argument("--windows", nargs="+", default=list(WINDOWS), choices=list(WINDOWS))
    parser.add_argument("--threads", type=int, default=2, help="of each stage")
    parser.add_argument(
        "--quantization", default="none", choices=get_args(Quantization), help="of thinker and talker"
    )
    parser.add_argument("--no-pace", action="store_true", help="start no server")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
