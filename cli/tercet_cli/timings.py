"""What a listener feels, computed from when things arrived. Pure: times come in, figures go out.

Used by `measuring`, `bench` and the benchmarks of `bench/`. The definitions are those of the gateway's
metrics, seen from the other end of the wire:

- TTFT, TTFA: from the request to the first text, the first sound;
- RTF: from the request to the last sound, per second of sound; below 1 the reply is faster than speech;
- stream RTF: the same from the first sound on, which leaves out the wait before it;
- underrun: a player starts with the first piece and plays on; the longest it is ever behind;
- tok/s: text tokens after the first, per second between the first and the last text.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A piece of sound that arrived at `at_s` and plays for `seconds`."""

    at_s: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """When the parts of one turn arrived, on one clock."""

    sent_s: float
    text_s: tuple[float, ...]
    sounds: tuple[Sound, ...]
    text_tokens: int
    codes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFigures:
    """None where a turn has no such figure: no sound, a single piece, a single token."""

    ttft_s: float | None
    ttfa_s: float | None
    rtf: float | None
    stream_rtf: float | None
    underrun_s: float | None
    tokens_per_s: float | None
    audio_s: float
    text_tokens: int


def turn_figures(record: TurnRecord) -> TurnFigures:
    sounds = record.sounds
    audio_s = sum(sound.seconds for sound in sounds)
    return TurnFigures(
        ttft_s=record.text_s[0] - record.sent_s if record.text_s else None,
        ttfa_s=sounds[0].at_s - record.sent_s if sounds else None,
        rtf=(sounds[-1].at_s - record.sent_s) / audio_s if sounds else None,
        stream_rtf=(sounds[-1].at_s - sounds[0].at_s) / audio_s if len(sounds) > 1 else None,
        underrun_s=underrun_s(sounds) if sounds else None,
        tokens_per_s=_tokens_per_s(record),
        audio_s=audio_s,
        text_tokens=record.text_tokens,
    )


def underrun_s(sounds: Sequence[Sound]) -> float:
    """Return the longest time by which a piece came after its turn to be played; 0: it never stuttered."""
    worst = played = 0.0
    for sound in sounds:
        worst = max(worst, sound.at_s - sounds[0].at_s - played)
        played += sound.seconds
    return worst


def _tokens_per_s(record: TurnRecord) -> float | None:
    if record.text_tokens < 2 or len(record.text_s) < 2:
        return None
    return (record.text_tokens - 1) / (record.text_s[-1] - record.text_s[0])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of the values do not exceed; between two, by proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = math.floor(place), math.ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """p95: what 95 of 100 turns did at least as well as, also where more is better."""

    p50: float
    p95: float
    p99: float


def spread(values: Iterable[float | None], *, more_is_better: bool = False) -> Spread | None:
    """Return None when no turn has the figure."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    sign = -1.0 if more_is_better else 1.0
    p50, p95, p99 = (
        sign * percentile([sign * value for value in there], share) for share in (0.5, 0.95, 0.99)
    )
    return Spread(p50=p50, p95=p95, p99=p99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A column of the report: its key in JSON, its heading, how it is read."""

    key: str
    heading: str
    of: Callable[[TurnFigures], float | None]
    more_is_better: bool = False


FIGURES: Final = (
    Figure(key="ttft_s", heading="TTFT, s", of=lambda turn: turn.ttft_s),
    Figure(key="ttfa_s", heading="TTFA, s", of=lambda turn: turn.ttfa_s),
    Figure(key="rtf", heading="RTF", of=lambda turn: turn.rtf),
    Figure(key="stream_rtf", heading="stream RTF", of=lambda turn: turn.stream_rtf),
    Figure(key="underrun_s", heading="underrun, s", of=lambda turn: turn.underrun_s),
    Figure(key="tokens_per_s", heading="tok/s", of=lambda turn: turn.tokens_per_s, more_is_better=True),
)


def summarize(turns: Sequence[TurnFigures]) -> dict[str, Spread | None]:
    """Return the spread of each figure over all turns, by key."""
    return {
        figure.key: spread(map(figure.of, turns), more_is_better=figure.more_is_better) for figure in FIGURES
    }
