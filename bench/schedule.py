"""Schedule: how much load plays without stutter under four policies, in a virtual-time simulation.

`python -m bench.schedule [--seconds N] [--plot FILE]`. Turns arrive at random; thinker, talker and code2wav
are three servers that make steps of a given cost, each step for many turns. The windows, the choice of the
step's windows and the admission are the stage's own functions; only the networks are replaced by their times.
Nothing here depends on the machine: the same seed gives the same table everywhere.
"""

import argparse
import heapq
import random
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from statistics import fmean, quantiles
from typing import Final, Literal

from rich.console import Console
from tercet_engine.code2wav.admission import BLOCK_S, StepCost, can_join
from tercet_engine.code2wav.deadlines import Candidate, choose_batch, deadline
from tercet_engine.code2wav.stage import CPU_LIMITS
from tercet_engine.code2wav.windows import BLOCK_CODES, FRAMES_PER_S, Progress, Window, advance, decide_window
from tercet_wire.names import CODES_PER_S, Stage
from tercet_wire.settings import StageSettings, WindowSettings

from bench.line_plot import Line, Plot, render_plot
from bench.machine import describe_machine
from bench.reports import Claim, Report, print_report, write_report

RESULTS: Final = Path(__file__).parent / "results"
Policy = Literal["first come", "first windows", "deadline", "deadline, admission"]
POLICIES: Final[tuple[Policy, ...]] = ("first come", "first windows", "deadline", "deadline, admission")
LOADS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.2, 1.5, 2.0)
FLAT_UNTIL: Final = 0.8
FLAT: Final = 1.5
"""How much later a p95 first sound may be for "flat": decoded as they come they are 2.6 times later."""
SECONDS: Final = 400.0
MEAN_REPLY_S: Final = 9.0
DUE_S: Final = 0.15
TOLERATED: Final = 0.01
CODES_PER_TOKEN: Final = 4
PROMPT_S: Final = 0.05
WINDOW: Final = WindowSettings()
COLUMNS: Final = ("load", *(f"{policy}: stutter, p95 TTFA" for policy in POLICIES), "refused by admission")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A step's time: `step_s` and `each_s` for each turn in it, or for each block in code2wav."""

    step_s: float
    each_s: float

    def cost(self, size: int) -> float:
        return self.step_s + self.each_s * size


THINKER: Final = Server(step_s=0.004, each_s=0.00005)
TALKER: Final = Server(step_s=0.003, each_s=0.00005)
CODE2WAV: Final = Server(step_s=0.002, each_s=0.009)
LIMITS: Final = CPU_LIMITS
CAPACITY: Final = LIMITS.late * BLOCK_S / CODE2WAV.cost(LIMITS.late)
"""Seconds of sound a second that code2wav makes in full steps: load 1."""


@dataclass(slots=True, kw_only=True)
class Turn:
    """`codes`: of the whole reply; `spoken`: made so far."""

    arrived_at: float
    codes: int
    tokens: int
    thought: int = 0
    spoken: int = 0
    progress: Progress = field(default_factory=Progress)
    begin_at: float | None = None
    first_sent_at: float | None = None
    sent_s: float = 0.0
    silence_s: float = 0.0
    window: Window | None = None
    """What could be decoded next, possible since `ready_at`."""
    ready_at: float = 0.0

    @property
    def can_speak(self) -> bool:
        """The talker reads a token a step as long as there are any."""
        return self.spoken < self.codes and self.thought > min(self.spoken, self.tokens - 1)

    @property
    def due_at(self) -> float:
        begin_at = self.arrived_at if self.begin_at is None else self.begin_at
        return deadline(begin_at=begin_at, due_s=DUE_S, first_sent_at=self.first_sent_at, sent_s=self.sent_s)


Key = Callable[[Turn], tuple[float, ...]]
KEYS: Final[dict[Policy, Key]] = {
    "first come": lambda turn: (turn.ready_at,),
    "first windows": lambda turn: (turn.first_sent_at is not None, turn.ready_at),
}


def choose(policy: Policy, ready: Sequence[tuple[Turn, Window]], now: float) -> list[int]:
    """Every policy fills steps to the same sizes."""
    if policy not in KEYS:
        return choose_batch(
            [Candidate(due_at=turn.due_at, blocks=window.blocks) for turn, window in ready],
            now=now,
            limits=LIMITS,
        )
    chosen: list[int] = []
    blocks = 0
    most = LIMITS.late if any(turn.due_at < now for turn, _ in ready) else LIMITS.in_time
    for index in sorted(range(len(ready)), key=lambda index: KEYS[policy](ready[index][0])):
        if not chosen or blocks + ready[index][1].blocks <= most:
            chosen.append(index)
            blocks += ready[index][1].blocks
    return chosen


class Simulation:
    """One run. Three servers, each busy with a step or idle; `_events` holds what ends next."""

    def __init__(self, policy: Policy, settings: StageSettings) -> None:
        self._policy = policy
        self._settings = settings
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._thinking: list[Turn] = []
        self._speaking: list[Turn] = []
        self._waiting: deque[Turn] = deque()
        self._played: list[Turn] = []
        self._busy: set[str] = set()
        self._cost = StepCost()
        self.now = 0.0
        self.ended: list[Turn] = []
        self.refused: list[Turn] = []

    def run(self, arrivals: Sequence[Turn]) -> None:
        for turn in arrivals:
            self._at(turn.arrived_at + PROMPT_S, lambda turn=turn: self._thinking.append(turn))  # type: ignore[misc]
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()
            self._think()
            self._speak()
            self._admit()
            self._play()

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), action))

    def _step(self, server: str, seconds: float, end: Callable[[], None]) -> None:
        self._busy.add(server)

        def finish() -> None:
            self._busy.discard(server)
            end()

        self._at(self.now + seconds, finish)

    def _think(self) -> None:
        if "thinker" in self._busy or not self._thinking:
            return
        batch = list(self._thinking)

        def end() -> None:
            for turn in batch:
                turn.thought += 1
                if turn.thought == 1:
                    self._speaking.append(turn)
            self._thinking = [turn for turn in self._thinking if turn.thought < turn.tokens]

        self._step("thinker", THINKER.cost(len(batch)), end)

    def _speak(self) -> None:
        batch = [turn for turn in self._speaking if turn.can_speak]
        if "talker" in self._busy or not batch:
            return

        def end() -> None:
            for turn in batch:
                turn.spoken += 1
                if turn.spoken in (turn.codes, WINDOW.first_codes) or turn.spoken % BLOCK_CODES == 0:
                    self._hand_on(turn)
            self._speaking = [turn for turn in self._speaking if turn.spoken < turn.codes]

        self._step("talker", TALKER.cost(len(batch)), end)

    def _hand_on(self, turn: Turn) -> None:
        if turn.begin_at is None:
            turn.begin_at = self.now  # as SpeechTurn.take_place
            self._waiting.append(turn)
        turn.progress = replace(turn.progress, codes=turn.spoken, complete=turn.spoken == turn.codes)
        self._look_ahead(turn)

    def _admit(self) -> None:
        settings = self._settings
        while self._waiting and self._has_place():
            turn = self._waiting.popleft()
            turn.begin_at = self.now  # as SpeechTurn.take_place
            self._played.append(turn)
        while self._waiting and self.now - self._begun(self._waiting[0]) > settings.queue_s:
            self.refused.append(self._waiting.popleft())
        while len(self._waiting) > settings.queue_turns:
            self.refused.append(self._waiting.pop())

    def _has_place(self) -> bool:
        if self._policy != "deadline, admission":
            return True
        return can_join(
            self._cost,
            turns=len(self._played),
            most_blocks=LIMITS.in_time,
            max_load=self._settings.max_load,
        )

    @staticmethod
    def _begun(turn: Turn) -> float:
        return turn.arrived_at if turn.begin_at is None else turn.begin_at

    def _play(self) -> None:
        if "code2wav" in self._busy:
            return
        ready = [(turn, turn.window) for turn in self._played if turn.window]
        batch = [ready[index] for index in choose(self._policy, ready, self.now)]
        if not batch:
            return
        blocks = sum(window.blocks for _, window in batch)
        seconds = CODE2WAV.cost(blocks)

        def end() -> None:
            self._cost.observe(blocks, seconds)
            for turn, window in batch:
                self._send(turn, window)

        self._step("code2wav", seconds, end)

    def _send(self, turn: Turn, window: Window) -> None:
        turn.progress = advance(turn.progress, window)
        turn.window = None
        sound_s = (window.send_until - window.send_from) / FRAMES_PER_S
        if sound_s:
            if turn.first_sent_at is None:
                turn.first_sent_at = self.now
            dry_at = turn.first_sent_at + turn.silence_s + turn.sent_s
            turn.silence_s += max(0.0, self.now - dry_at) if turn.sent_s else 0.0
            turn.sent_s += sound_s
        if window.last:
            self._played.remove(turn)
            self.ended.append(turn)
        else:
            self._look_ahead(turn)

    def _look_ahead(self, turn: Turn) -> None:
        if turn.window is None:
            turn.ready_at = self.now
        turn.window = decide_window(WINDOW, turn.progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    policy: Policy
    load: float
    turns: int
    stuttering: float
    ttfa_p50_s: float
    ttfa_p95_s: float
    refused: float

    @property
    def cell(self) -> str:
        return f"{100 * self.stuttering:.1f} %, {self.ttfa_p95_s:.2f} s"


def draw_arrivals(load: float, seconds: float, seed: int) -> list[Turn]:
    """At random, as many as make the load; replies of one second and more, nine on average."""
    generator = random.Random(seed)
    rate = load * CAPACITY / MEAN_REPLY_S
    turns: list[Turn] = []
    now = generator.expovariate(rate)
    while now < seconds:
        codes = round(CODES_PER_S * (1 + generator.expovariate(1 / (MEAN_REPLY_S - 1))))
        tokens = -(-codes // CODES_PER_TOKEN)
        turns.append(Turn(arrived_at=now, codes=codes, tokens=tokens))
        now += generator.expovariate(rate)
    return turns


def simulate(policy: Policy, load: float, *, seconds: float, seed: int, settings: StageSettings) -> Outcome:
    simulation = Simulation(policy, settings)
    arrivals = draw_arrivals(load, seconds, seed)
    simulation.run(arrivals)
    waits = [turn.first_sent_at - turn.arrived_at for turn in simulation.ended if turn.first_sent_at]
    return Outcome(
        policy=policy,
        load=load,
        turns=len(arrivals),
        stuttering=fmean(turn.silence_s > 0 for turn in simulation.ended),
        ttfa_p50_s=quantiles(waits, n=20)[9],
        ttfa_p95_s=quantiles(waits, n=20)[18],
        refused=len(simulation.refused) / len(arrivals),
    )


def find_playable(outcomes: Sequence[Outcome], policy: Policy) -> float:
    """The largest load up to which hardly anybody hears a stutter."""
    playable = 0.0
    for outcome in outcomes:
        if outcome.policy == policy:
            if outcome.stuttering >= TOLERATED:
                break
            playable = outcome.load
    return playable


def build_report(outcomes: Sequence[Outcome], seconds: float) -> Report:
    by_load: dict[float, dict[Policy, Outcome]] = {}
    for outcome in outcomes:
        by_load.setdefault(outcome.load, {})[outcome.policy] = outcome
    admitted = {load: row["deadline, admission"] for load, row in by_load.items()}
    playable = {policy: find_playable(outcomes, policy) for policy in POLICIES}
    flat = max(outcome.ttfa_p95_s for load, outcome in admitted.items() if load <= FLAT_UNTIL)
    return Report(
        name="schedule",
        title=f"Schedule: {seconds:g} s of virtual time; load 1 is {CAPACITY:.1f} s of sound a second",
        columns=COLUMNS,
        rows=[
            [f"{load:g}", *(row[policy].cell for policy in POLICIES), f"{100 * admitted[load].refused:.0f} %"]
            for load, row in by_load.items()
        ],
        claims=[
            _claim_ratio("first come", playable, 1.3),
            _claim_ratio("first windows", playable, 1.6),
            Claim(
                text="share of turns that stutter with admission, at the worst load",
                measured=max(outcome.stuttering for outcome in admitted.values()),
                target=0.0,
                at_least=False,
            ),
            Claim(
                text=f"p95 TTFA with admission up to load {FLAT_UNTIL}, against the lowest load",
                measured=flat / admitted[LOADS[0]].ttfa_p95_s,
                target=FLAT,
                at_least=False,
            ),
        ],
        plots={"schedule": build_plot(outcomes)},
        raw={
            "seconds": seconds,
            "capacity": CAPACITY,
            "playable": playable,
            "outcomes": [asdict(outcome) for outcome in outcomes],
        },
    )


def _claim_ratio(policy: Policy, playable: dict[Policy, float], target: float) -> Claim:
    """A policy that fails at the lowest load already counts as if it failed just above it."""
    return Claim(
        text=f"load that plays, by deadline against {policy}",
        measured=playable["deadline"] / max(playable[policy], LOADS[0]),
        target=target,
        at_least=True,
    )


def build_plot(outcomes: Sequence[Outcome]) -> Plot:
    return Plot(
        title="Turns that stutter, by load and by what is decoded next",
        across="offered sound, as a share of what code2wav can make",
        up="turns that stutter, %",
        most=100,
        lines=[
            Line(
                name=policy,
                points=[(each.load, 100 * each.stuttering) for each in outcomes if each.policy == policy],
            )
            for policy in POLICIES
        ],
    )


def run(seconds: float) -> Report:
    settings = StageSettings(stage=Stage.CODE2WAV, checkpoint="none")
    outcomes = [
        simulate(policy, load, seconds=seconds, seed=1, settings=settings)
        for load in LOADS
        for policy in POLICIES
    ]
    return build_report(outcomes, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.schedule", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of virtual time, a load and policy")
    parser.add_argument("--plot", type=Path, help="where the plot goes too")
    options = parser.parse_args()
    console = Console(width=140)
    setup = describe_machine()
    report = run(options.seconds)
    if options.plot is not None:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        options.plot.write_text(render_plot(report.plots[report.name]))
    print_report(report, console)
    console.print(f"written to {write_report(report, setup, RESULTS)}", highlight=False)
    return 0 if all(claim.is_met for claim in report.claims) else 1


if __name__ == "__main__":
    sys.exit(main())
