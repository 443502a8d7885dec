"""What the seams cost: TTFA through gateway and Triton against the computing that must precede it.

That computing is done by the same three engines with the same settings, in this process, one after the
other: the prompt and two tokens in the thinker, the first window's codes in the talker, the first window in
code2wav. What TTFA is above their sum is what messages, processes and scheduling cost.

Where the time goes comes from the gateway's own histograms over the same turns: how long it took until each
stage's first message, and how much of that the stage had the turn.
"""

import asyncio
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, Final, Generic, TypeVar
from uuid import uuid4

import torch
from tercet_cli.deployment_file import read_deployment
from tercet_cli.replies import SoundDelta
from tercet_cli.servers import Request, Server, stream_reply
from tercet_cli.sources import resolve_source
from tercet_engine.code2wav.stage import load_code2wav
from tercet_engine.stage import (
    Code2WavInput,
    Code2WavOutput,
    StageEngine,
    TalkerInput,
    TalkerOutput,
    ThinkerInput,
    ThinkerOutput,
)
from tercet_engine.talker import load_talker
from tercet_engine.thinker import load_thinker
from tercet_operator.resources.triton import build_servers
from tercet_wire.messages import StageFailure, Turn
from tercet_wire.names import Stage
from tercet_wire.settings import StageSettings

from bench.product import BENCH_YAML, MODEL, Product, Sums, serve
from bench.progress import say
from bench.reports import Claim, Report
from bench.workload import Workload, read_workload

TARGET: Final = 1.2
ASKED: Final = 3
"""Turns of the product in a round."""
WAIT_S: Final = 120.0
SETTLE_S: Final = 0.5
REPLY_ROWS: Final = 24
"""States of the reply that are enough for the talker's first window, one for each code."""

Output = TypeVar("Output")


class Inbox(Generic[Output]):
    """A sink that hands a turn's outputs to the measuring thread."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Output | StageFailure | None] = queue.SimpleQueue()

    def send(self, output: Output) -> None:
        self._queue.put(output)

    def close(self, failure: StageFailure | None = None) -> None:
        self._queue.put(failure)

    def is_cancelled(self) -> bool:
        return False

    def take(self) -> Output | None:
        """Wait for the next output; None: the turn has ended."""
        match self._queue.get(timeout=WAIT_S):
            case StageFailure(message=message):
                raise RuntimeError(message)
            case output:
                return output


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    thinker: StageEngine[ThinkerInput, ThinkerOutput]
    talker: StageEngine[TalkerInput, TalkerOutput]
    code2wav: StageEngine[Code2WavInput, Code2WavOutput]


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """Seconds of each stage until it has what the first sound needs of it."""

    thinker_s: float
    talker_s: float
    code2wav_s: float

    @property
    def sum_s(self) -> float:
        return self.thinker_s + self.talker_s + self.code2wav_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Means over a round's turns, in seconds. `first`: from a stage's opening to its first message."""

    reading_s: float
    first_s: Mapping[Stage, float]
    inside_s: Mapping[Stage, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    ttfa_s: tuple[float, ...]
    computing: Computing
    way: Way


def run(cache: Path, *, rounds: int, text_tokens: int) -> Report:
    checkpoint = resolve_source("demo://bench", cache_root=cache)
    workload = read_workload(checkpoint, text_tokens)
    with ExitStack() as stack:
        product = stack.enter_context(serve(cache))
        engines = _load(checkpoint, stack)
        say("warm-up")
        _measure_round(product, engines, workload)
        measured = []
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            measured.append(_measure_round(product, engines, workload))
    return judge(measured)


def _load(checkpoint: Path, stack: ExitStack) -> Engines:
    """Open the engines with the settings that the product's servers got."""
    plans = build_servers(read_deployment(BENCH_YAML), checkpoint=str(checkpoint), cores=os.cpu_count() or 1)
    settings: dict[Stage, StageSettings] = {each.stage: each for plan in plans for each in plan.stages}
    engines = Engines(
        thinker=load_thinker(settings[Stage.THINKER]),
        talker=load_talker(settings[Stage.TALKER]),
        code2wav=load_code2wav(settings[Stage.CODE2WAV]),
    )
    for engine in (engines.thinker, engines.talker, engines.code2wav):
        stack.callback(engine.shutdown)
    return engines


def _measure_round(product: Product, engines: Engines, workload: Workload) -> Round:
    requests = [workload.request(MODEL) for _ in range(ASKED)]
    before = product.read_sums()
    ttfa_s = tuple(asyncio.run(_first_sound_s(product.server, request)) for request in requests)
    way = read_way(before, product.read_sums())
    return Round(ttfa_s=ttfa_s, computing=_compute(engines, workload.turn()), way=way)


def read_way(before: Sums, after: Sums) -> Way:
    def average(name: str, stage: str = "", phase: str = "") -> float:
        seconds, turns = (
            after[key] - before.get(key, 0.0)
            for key in ((f"tercet_gateway_{name}_seconds_{kind}", stage, phase) for kind in ("sum", "count"))
        )
        return seconds / turns

    return Way(
        reading_s=average("overhead"),
        first_s={stage: average("stage_latency", stage, "first") for stage in Stage},
        inside_s={stage: average("stage_latency", stage, "inside") for stage in Stage},
    )


async def _first_sound_s(server: Server, request: Request) -> float:
    """Ask, hang up at the first sound, and leave the stages time to notice."""
    async with server.async_client(1) as client, aclosing(stream_reply(server, client, request)) as reply:
        started = time.perf_counter()
        async for delta in reply:
            if isinstance(delta, SoundDelta):
                break
        else:
            raise RuntimeError("the reply has no sound")
        seconds = time.perf_counter() - started
    await asyncio.sleep(SETTLE_S)
    return seconds


def _compute(engines: Engines, turn: Turn) -> Computing:
    """Run a turn through the three stages, each to its part of the first sound."""
    thinker_s, outputs = _think(engines, turn)
    later = turn.model_copy(update={"messages": ()})
    talker_s, codes = _talk(engines, later, outputs)
    code2wav_s = _sound(engines, later, codes)
    return Computing(thinker_s=thinker_s, talker_s=talker_s, code2wav_s=code2wav_s)


def _think(engines: Engines, turn: Turn) -> tuple[float, list[ThinkerOutput]]:
    """Time to the first reply row, which comes with the second token; then on to what the talker needs."""
    inbox: Inbox[ThinkerOutput] = Inbox()
    session = uuid4().hex
    outputs: list[ThinkerOutput] = []
    replied = 0  # rows of the reply
    spoken_s = 0.0
    started = time.perf_counter()
    engines.thinker.open(session, ThinkerInput(turn=turn), inbox)
    while replied < REPLY_ROWS:
        output = inbox.take()
        if output is None:
            raise RuntimeError(f"the reply ended after {replied} states: give it more text tokens")
        outputs.append(output)
        replied += output.states.shape[0] - output.positions.shape[1]
        if replied > 0 and not spoken_s:
            spoken_s = time.perf_counter() - started
    engines.thinker.cancel(session)
    return spoken_s, outputs


def _talk(engines: Engines, turn: Turn, outputs: Sequence[ThinkerOutput]) -> tuple[float, tuple[int, ...]]:
    """Time to the first codes, with the states they need there from the start."""
    whole = TalkerInput(
        turn=turn,
        states=torch.cat([output.states for output in outputs]),
        positions=torch.cat([output.positions for output in outputs], dim=1),
        last=False,
    )
    return _first(engines.talker, whole, lambda output: output.codes)


def _sound(engines: Engines, turn: Turn, codes: tuple[int, ...]) -> float:
    """Time to the first sound of the first codes."""
    first = Code2WavInput(turn=turn, codes=codes, last=False)
    return _first(engines.code2wav, first, lambda output: output.pcm.size)[0]


def _first(engine: StageEngine[Any, Any], given: Any, part: Callable[[Any], Any]) -> tuple[float, Any]:
    """Time to the first output that has the part, and the part; the turn is then cancelled."""
    inbox: Inbox[Any] = Inbox()
    session = uuid4().hex
    started = time.perf_counter()
    engine.open(session, given, inbox)
    while (output := inbox.take()) is not None:
        if found := part(output):
            seconds = time.perf_counter() - started
            engine.cancel(session)
            return seconds, found
    raise RuntimeError("the stage ended its turn without an output")


def list_way(ttfa_s: float, ways: Sequence[Way]) -> Iterator[tuple[str, float]]:
    """Every part of a turn from its request to its first sound, in seconds; they add up to `ttfa_s`.

    The talker and code2wav are opened together, when the thinker's first message comes.
    """

    def first(stage: Stage) -> float:
        return median(way.first_s[stage] for way in ways)

    def hop(stage: Stage) -> float:
        return median(way.first_s[stage] - way.inside_s[stage] for way in ways)

    reading_s = median(way.reading_s for way in ways)
    yield "gateway: reading the request", reading_s
    yield "to the thinker and back", hop(Stage.THINKER)
    yield "thinker: prompt and first token", first(Stage.THINKER) - hop(Stage.THINKER)
    yield "to the talker and back", hop(Stage.TALKER)
    yield "talker: first codes, with its waiting for states", first(Stage.TALKER) - hop(Stage.TALKER)
    yield (
        "code2wav: first window, with the codes' way there",
        first(Stage.CODE2WAV) - hop(Stage.CODE2WAV) - first(Stage.TALKER),
    )
    yield "back from code2wav", hop(Stage.CODE2WAV)
    yield "gateway to client", ttfa_s - reading_s - first(Stage.THINKER) - first(Stage.CODE2WAV)


def judge(rounds: Sequence[Round]) -> Report:
    ttfa_s = median(value for each in rounds for value in each.ttfa_s)
    mean_s, ways = median(mean(each.ttfa_s) for each in rounds), [each.way for each in rounds]
    computing = Computing(
        thinker_s=median(each.computing.thinker_s for each in rounds),
        talker_s=median(each.computing.talker_s for each in rounds),
        code2wav_s=median(each.computing.code2wav_s for each in rounds),
    )
    return Report(
        name="seam",
        title=f"First sound against the computing before it (medians of {len(rounds)} rounds)",
        columns=("", "ms"),
        rows=[
            ("thinker: prompt and two tokens", f"{1000 * computing.thinker_s:.0f}"),
            ("talker: prompt and the first codes", f"{1000 * computing.talker_s:.0f}"),
            ("code2wav: the first window", f"{1000 * computing.code2wav_s:.0f}"),
            ("sum", f"{1000 * computing.sum_s:.0f}"),
            ("TTFA through gateway and Triton", f"{1000 * ttfa_s:.0f}"),
            ("the same, mean of a round", f"{1000 * mean_s:.0f}"),
            *((f"  {part}", f"{1000 * seconds:.1f}") for part, seconds in list_way(mean_s, ways)),
        ],
        claims=[
            Claim(
                text="TTFA over the sum of its computing",
                measured=ttfa_s / computing.sum_s,
                target=TARGET,
                at_least=False,
            )
        ],
        raw={"rounds": [asdict(each) for each in rounds]},
    )
