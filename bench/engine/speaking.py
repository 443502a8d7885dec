"""Whole spoken turns through three engines joined in order, and the computing that precedes a first sound.

The engines hand on what they make as the gateway does; there is no gateway and no Triton. Run with the three
in one process and with each in its own.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Generic, TypeVar
from uuid import uuid4

import torch
from tercet_engine.stage import (
    Code2WavInput,
    Code2WavOutput,
    TalkerInput,
    TalkerOutput,
    ThinkerInput,
    ThinkerOutput,
)
from tercet_wire.messages import StageFailure, Turn
from tercet_wire.names import SAMPLE_RATE_HZ

from bench.engine.engines import Engines
from bench.engine.records import Recorder
from bench.engine.turns import WAIT_S, Inbox, TurnError, build_turn, time_first

REPLY_ROWS: Final = 24
"""States of the reply that are enough for the talker's first window."""
SETTLE_S: Final = 0.05
"""For cancelled turns to leave."""

Output = TypeVar("Output")


def measure(engines: Engines, record: Recorder) -> None:
    measure_turns(engines, record, engines.plan.amounts.spoken_turns, where="one process")


def measure_turns(engines: Engines, record: Recorder, counts: Sequence[int], *, where: str) -> None:
    speak(engines, 1)  # warm
    for turns in counts:
        rounds = [speak(engines, turns) for _ in range(engines.plan.amounts.long_rounds)]
        spoken = [each for crowd in rounds for each in crowd]
        facts = {"turns": turns, "where": where}
        record.add("TTFT", 1000 * median(each.ttft_s for each in spoken), "ms", **facts)
        record.add("TTFA", 1000 * median(each.ttfa_s for each in spoken), "ms", **facts)
        record.add("TTFA, the slowest", 1000 * max(each.ttfa_s for each in spoken), "ms", **facts)
        record.add("RTF", median(each.wall_s / each.audio_s for each in spoken), "", **facts)
        record.add("underrun, the worst", 1000 * max(each.underrun_s for each in spoken), "ms", **facts)
        wall_s = median(max(each.wall_s for each in crowd) for crowd in rounds)
        record.add("turns", turns / wall_s, "/s", **facts)
        record.add("sound", sum(each.audio_s for each in rounds[0]) / wall_s, "s/s", **facts)


def measure_computing(engines: Engines, record: Recorder) -> None:
    """Each stage alone to its part of the first sound; their sum is what TTFA is compared with."""
    amounts = engines.plan.amounts
    _, outputs = _think(engines, _build_turn(engines))
    record.add("prompt", outputs[0].positions.shape[1], "tokens")
    _compute(engines)
    rounds = [_compute(engines) for _ in range(max(3, amounts.rounds))]
    names = ("thinker: prompt and two tokens", "talker: prompt and first codes", "code2wav: first window")
    for index, name in enumerate(names):
        record.add(f"computing before sound, {name}", 1000 * median(each[index] for each in rounds), "ms")
    record.add("computing before sound", 1000 * median(sum(each) for each in rounds), "ms")


def _compute(engines: Engines) -> tuple[float, float, float]:
    turn = _build_turn(engines)
    thinker_s, outputs = _think(engines, turn)
    later = turn.model_copy(update={"messages": ()})
    whole = TalkerInput(
        turn=later,
        states=torch.cat([output.states for output in outputs]),
        positions=torch.cat([output.positions for output in outputs], dim=1),
        last=False,
    )
    time.sleep(SETTLE_S)
    talker_s, codes = time_first(engines.talker, [whole], lambda output: output.codes)
    time.sleep(SETTLE_S)
    first = Code2WavInput(turn=later, codes=codes, last=False)
    code2wav_s, _ = time_first(engines.code2wav, [first], lambda output: output.pcm.size)
    return thinker_s, talker_s, code2wav_s


def _think(engines: Engines, turn: Turn) -> tuple[float, list[ThinkerOutput]]:
    """Time to the first reply row, which comes with the second token; then on to what the talker needs."""
    inbox: Inbox[ThinkerOutput] = Inbox()
    session = uuid4().hex
    outputs: list[ThinkerOutput] = []
    replied, spoken_s = 0, 0.0
    started = time.perf_counter()
    engines.thinker.open(session, ThinkerInput(turn=turn), inbox)
    for at_s, output in inbox.outputs():
        outputs.append(output)
        replied += output.states.shape[0] - output.positions.shape[1]
        if replied > 0 and not spoken_s:
            spoken_s = at_s - started
        if replied >= REPLY_ROWS:
            break
    engines.thinker.cancel(session)
    return spoken_s, outputs


def _build_turn(engines: Engines) -> Turn:
    amounts = engines.plan.amounts
    return build_turn(
        amounts.prompt_letters,
        tokens=max(amounts.reply_tokens, REPLY_ROWS + 2),
        codes=amounts.reply_codes,
        ends=engines.ends,
    )


# --- whole turns -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """Seconds from the request on."""

    ttft_s: float
    ttfa_s: float
    wall_s: float
    audio_s: float
    underrun_s: float


def speak(engines: Engines, turns: int) -> list[Spoken]:
    """So many turns at once, to their ends."""
    crowd = [_SpokenTurn(engines, _build_turn(engines)) for _ in range(turns)]
    for each in crowd:
        each.start()
    return [each.wait() for each in crowd]


class _SpokenTurn:
    """Hands each stage's outputs on to the next, and notes when what came."""

    def __init__(self, engines: Engines, turn: Turn) -> None:
        self._engines = engines
        self._turn = turn
        self._later = turn.model_copy(update={"messages": ()})
        self._session = uuid4().hex
        self._over = threading.Event()
        self._failure: StageFailure | None = None
        self._started_s = 0.0
        self._text_s = 0.0
        self._has_codes = False
        self._sound: list[tuple[float, int]] = []

    def start(self) -> None:
        self._started_s = time.perf_counter()
        sink = _Relay(self._take_thought, self._take_end)
        self._engines.thinker.open(self._session, ThinkerInput(turn=self._turn), sink)

    def wait(self) -> Spoken:
        if not self._over.wait(WAIT_S):
            raise TurnError("a spoken turn did not end")
        if self._failure is not None:
            raise TurnError(self._failure.message)
        return Spoken(
            ttft_s=self._text_s - self._started_s,
            ttfa_s=self._sound[0][0] - self._started_s,
            wall_s=self._sound[-1][0] - self._started_s,
            audio_s=sum(samples for _, samples in self._sound) / SAMPLE_RATE_HZ,
            underrun_s=find_underrun(self._sound),
        )

    def _take_thought(self, output: ThinkerOutput) -> None:
        is_first = not self._text_s
        given = TalkerInput(
            states=output.states,
            positions=output.positions,
            last=output.last,
            turn=self._later if is_first else None,
        )
        if is_first:
            self._text_s = time.perf_counter()
            self._engines.talker.open(self._session, given, _Relay(self._take_codes, self._take_end))
        else:
            self._engines.talker.feed(self._session, given)

    def _take_codes(self, output: TalkerOutput) -> None:
        given = Code2WavInput(
            codes=output.codes, last=output.last, turn=None if self._has_codes else self._later
        )
        if self._has_codes:
            self._engines.code2wav.feed(self._session, given)
        else:
            self._has_codes = True
            self._engines.code2wav.open(self._session, given, _Relay(self._take_sound, self._finish))

    def _take_sound(self, output: Code2WavOutput) -> None:
        if output.pcm.size:
            self._sound.append((time.perf_counter(), output.pcm.size))

    def _take_end(self, failure: StageFailure | None) -> None:
        if failure is not None:
            self._finish(failure)

    def _finish(self, failure: StageFailure | None) -> None:
        self._failure = self._failure or failure
        self._over.set()


class _Relay(Generic[Output]):
    """A sink of two functions."""

    def __init__(self, take: Callable[[Output], None], end: Callable[[StageFailure | None], None]) -> None:
        self._take = take
        self._end = end

    def send(self, output: Output) -> None:
        self._take(output)

    def close(self, failure: StageFailure | None = None) -> None:
        self._end(failure)

    def is_cancelled(self) -> bool:
        return False


def find_underrun(sound: Sequence[tuple[float, int]]) -> float:
    """Worst playback deficit of a player that starts at the first piece, in seconds."""
    (began, _), *_ = sound
    worst, played = 0.0, 0.0
    for at_s, samples in sound:
        worst = max(worst, at_s - began - played)
        played += samples / SAMPLE_RATE_HZ
    return worst
