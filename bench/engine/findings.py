"""What the figures say: ours beside transformers' and the device's roof, and the targets. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from bench.engine.records import Record
from bench.reports import Claim

Row = tuple[str, str, str, str]
COLUMNS: Final = ("", "Tercet", "against", "ratio")


class Figures:
    """Records by name and facts."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records

    def find(self, name: str, unit: str | None = None, /, **facts: Any) -> float | None:
        """The last one of that name whose facts include these."""
        for record in reversed(self._records):
            if record.name == name and unit in (None, record.unit) and facts.items() <= record.facts.items():
                return record.value
        return None

    def values(self, name: str, fact: str) -> list[Any]:
        """Of a fact, in the order in which they were measured."""
        return list(dict.fromkeys(record.facts[fact] for record in self._records if record.name == name))

    def ratio(self, one: float | None, other: float | None) -> float | None:
        return None if one is None or not other else one / other


def list_rows(figures: Figures) -> Iterator[Row]:
    yield from _list_speeds(figures)
    yield from _list_speech(figures)
    yield from _list_sound(figures)
    yield from _list_hosts(figures)


def _list_speeds(figures: Figures) -> Iterator[Row]:
    for stage, unit in (("thinker", "tok/s"), ("talker", "codes/s")):
        for turns in figures.values(stage, "turns"):
            ours = figures.find(stage, unit, turns=turns)
            theirs = figures.find(f"transformers, {stage}", unit, turns=turns)
            name = f"{stage} {unit}, {turns} turns"
            yield name, _show(ours), f"transformers {_show(theirs)}", _show(figures.ratio(ours, theirs))
            step, floor = figures.find(f"{stage}, a step", turns=turns), find_floor(figures, stage, turns)
            yield "  a step, ms", _show(step), f"roof {_show(floor)}", _show(figures.ratio(floor, step))


def find_floor(figures: Figures, stage: str, turns: int) -> float | None:
    """Milliseconds that a step needs at least: for the weights' bytes, or for the products."""
    read, rate = figures.find(f"{stage}, matrices"), figures.find("copy bandwidth, read and written")
    work, throughput = figures.find(f"{stage}, products of a turn"), figures.find("matrix product")
    if read is None or not rate or work is None or not throughput:
        return None
    return max(1000 * read / rate, turns * work / throughput)


def _list_speech(figures: Figures) -> Iterator[Row]:
    computing = figures.find("computing before sound", "ms")
    for where in figures.values("TTFA", "where"):
        for turns in figures.values("TTFA", "turns"):
            facts = {"where": where, "turns": turns}
            ours, theirs = (
                figures.find("TTFA", **facts),
                figures.find("transformers, time to audio", turns=turns),
            )
            name = f"{where}, {turns} turns"
            yield (
                f"{name}: TTFA, ms",
                _show(ours),
                f"transformers {_show(theirs)}",
                _show(figures.ratio(theirs, ours)),
            )
            if turns == 1:
                yield "  against its computing", "", _show(computing), _show(figures.ratio(ours, computing))
            ours, theirs = figures.find("RTF", **facts), figures.find("transformers, RTF", turns=turns)
            yield "  RTF", _show(ours), f"transformers {_show(theirs)}", _show(figures.ratio(theirs, ours))
            ours, theirs = figures.find("turns", **facts), figures.find("transformers, turns", turns=turns)
            yield (
                "  turns/s",
                _show(ours),
                f"transformers {_show(theirs)}",
                _show(figures.ratio(ours, theirs)),
            )
            yield "  worst underrun, ms", _show(figures.find("underrun, the worst", **facts)), "", ""


def _list_sound(figures: Figures) -> Iterator[Row]:
    for solver in figures.values("first window", "solver"):
        for codes in figures.values("first window", "codes"):
            shown = [
                _show(figures.find("first window", "ms", solver=solver, codes=codes, turns=turns))
                for turns in figures.values("first window", "turns")
            ]
            yield f"first window of {codes} codes, {solver}, ms", " / ".join(shown), "1 / 8 turns", ""
    for numbers in figures.values("SNR against float32", "numbers"):
        shown = [
            _show(figures.find("first window of blocks", numbers=numbers, turns=turns)) for turns in (1, 8)
        ]
        snr = _show(figures.find("SNR against float32", numbers=numbers))
        name = f"1 block, 1 turn / 2 blocks, 8 turns, {numbers}, ms"
        yield name, " / ".join(shown), f"SNR {snr} dB", ""
    for turns in figures.values("streamed against whole", "turns"):
        yield (
            f"streamed against whole, {turns} turns",
            _show(figures.find("streamed against whole", turns=turns)),
            "",
            "",
        )
    for seconds in figures.values("late windows against early ones", "seconds"):
        found = figures.find("late windows against early ones")
        yield f"late windows against early ones, {seconds} s", _show(found), "", ""


def _list_hosts(figures: Figures) -> Iterator[Row]:
    for letters in figures.values("prompt, first token", "letters"):
        new = figures.find("prompt, first token", letters=letters)
        again = figures.find("known prompt, first token", letters=letters)
        name = f"first token after a prompt of {letters} letters, ms"
        yield name, _show(new), f"known {_show(again)}", _show(figures.ratio(new, again))
    for layers in figures.values("host time of a step", "layers"):
        for turns in figures.values("host time of a step", "turns"):
            found = figures.find("host time of a step", layers=layers, turns=turns)
            yield f"host time, {layers} layers, {turns} turns, ms", _show(found), "", ""
    for chunk in figures.values("gap between tokens, p95", "chunk"):
        quiet, loud = (_find_gap(figures, prompt, chunk) for prompt in ("none", "long"))
        name = f"p95 gap while a long prompt comes, chunks of {chunk}, ms"
        yield name, _show(loud), f"without {_show(quiet)}", _show(figures.ratio(loud, quiet))
    for stage in ("thinker", "talker", "code2wav"):
        name = f"memory of {stage}"
        if figures.find(name) is None:
            continue
        shown = (_show(figures.find(name, what=what)) for what in ("loading", "loaded", "running"))
        known = (_show(figures.find(name, what=what)) for what in ("weights", "keys and values"))
        yield f"{name}, GiB: loading / loaded / running", " / ".join(shown), f"of it {' + '.join(known)}", ""


def _find_gap(figures: Figures, prompt: str, chunk: int) -> float | None:
    return figures.find("gap between tokens, p95", prompt=prompt, chunk=chunk)


def list_claims(figures: Figures) -> Iterator[Claim]:
    """Those whose figures there are."""
    alone = {"where": "one process", "turns": 1}
    many = {"where": "one process", "turns": 8}
    ttfa = figures.find("TTFA", **alone)
    to_audio = figures.find("transformers, time to audio", turns=1)
    yield from _claim("times to first sound, times lower", figures.ratio(to_audio, ttfa), at_least=60)
    computing = figures.find("computing before sound", "ms")
    yield from _claim("TTFA over its computing", figures.ratio(ttfa, computing), at_most=1.2)
    rtf = figures.ratio(figures.find("RTF", **alone), figures.find("transformers, RTF", turns=1))
    yield from _claim("RTF of one turn, share of theirs", rtf, at_most=0.25)
    turns = figures.ratio(figures.find("turns", **many), figures.find("transformers, turns", turns=8))
    yield from _claim("turns a second, 8 at once, times theirs", turns, at_least=4)
    for count in (1, 32):
        step = figures.find("thinker, a step", turns=count)
        share = figures.ratio(find_floor(figures, "thinker", count), step)
        yield from _claim(f"thinker against the roof, {count} turns", share, at_least=0.6)
    for count, most in ((1, 0.15), (64, 0.5)):
        found = figures.find("host time of a step", turns=count, layers=0)
        yield from _claim(f"host time of a step without layers, {count} turns, ms", found, at_most=most)
    yield from _claim("streamed against whole", figures.find("streamed against whole", turns=1), at_most=1.2)
    late = figures.find("late windows against early ones")
    yield from _claim("late windows against early ones", late, at_most=1.05)
    chunks = figures.values("gap between tokens, p95", "chunk")
    gaps = [
        figures.ratio(_find_gap(figures, "long", each), _find_gap(figures, "none", each))
        for each in chunks[:1]
    ]
    yield from _claim("p95 gap with a long prompt against without", next(iter(gaps), None), at_most=1.5)


def _claim(
    text: str, measured: float | None, *, at_least: float | None = None, at_most: float | None = None
) -> Iterator[Claim]:
    target = at_most if at_least is None else at_least
    if measured is not None and target is not None:
        yield Claim(text=text, measured=measured, target=target, at_least=at_least is not None)


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
