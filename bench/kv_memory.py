"""KV memory: how many turns run at once and how much of what they hold is used, in a virtual run.

`python -m bench kv_memory`. The scheduler and the pool are the stages' own, a step costs nothing, and more
turns wait than fit. Compared are blocks taken as turns grow and blocks for the longest reply taken at the
beginning. Nothing here depends on the machine.
"""

import random
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Final

from tercet_engine.decoder.blocks import BlockPool, Size
from tercet_engine.decoder.scheduler import Limits, Scheduler, Ticket

from bench.reports import Claim, Report

BLOCK_TOKENS: Final = 16
PROMPTS: Final = (100, 900)
TURNS: Final = 1_000
MOST_WASTE: Final = 0.05
MOST_SAT_OUT: Final = 0.01
SEED: Final = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """`most_new`: what a reply may have where the request does not say; `mean_new`: what it has, drawn
    exponentially and cut there.
    """

    stage: str
    pool_tokens: int
    most_new: int
    mean_new: int

    @property
    def name(self) -> str:
        length = "all at their most" if self.mean_new > self.most_new else f"{self.mean_new} on average"
        return f"{self.stage}, {self.pool_tokens:,} tokens: {length} of {self.most_new:,}"


DEMANDS: Final = (
    *(
        Demand(stage="thinker", pool_tokens=18_720, most_new=1_024, mean_new=mean)
        for mean in (60, 125, 500, 1_000_000)
    ),
    *(Demand(stage="talker", pool_tokens=10_912, most_new=4_096, mean_new=mean) for mean in (250, 500)),
)
"""1 GiB of a 7B thinker's, and the 512 MiB that a 7B talker has by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Means over the steps. `sat_out`: share of the turns of a step that found no memory in it."""

    turns: float
    waste: float
    sat_out: float
    longest_wait: int
    """Steps that a running turn had to sit out one after the other, at worst."""


def run() -> Report:
    rows, raw = [], []
    grown = []
    for demand in DEMANDS:
        reserved, growing = (simulate(demand, reserve=reserve) for reserve in (True, False))
        grown.append(growing)
        raw.append({"demand": asdict(demand), "reserved": asdict(reserved), "growing": asdict(growing)})
        rows.append(
            (
                demand.name,
                f"{reserved.turns:.1f}",
                f"{reserved.waste:.0%}",
                f"{growing.turns:.1f}",
                f"{growing.waste:.1%}",
                f"{growing.sat_out:.2%}, {growing.longest_wait} steps",
            )
        )
    return Report(
        name="kv_memory",
        title=f"KV memory, {TURNS:,} turns with prompts of {PROMPTS[0]} to {PROMPTS[1]} tokens",
        columns=(
            "a reply's tokens",
            "reserved: turns at once",
            "waste",
            "growing: turns at once",
            "waste",
            "sat out, longest",
        ),
        rows=rows,
        claims=(
            Claim(
                text="memory in use that holds no token, the worst",
                measured=max(each.waste for each in grown),
                target=MOST_WASTE,
                at_least=False,
            ),
            Claim(
                text="turns of a step that find no memory, the worst",
                measured=max(each.sat_out for each in grown),
                target=MOST_SAT_OUT,
                at_least=False,
            ),
        ),
        raw={"runs": raw},
    )


@dataclass(slots=True, kw_only=True)
class _Turn:
    prompt: int
    tokens: int
    """Prompt and reply."""
    fed: int = 0
    sat_out: int = 0

    @property
    def ready(self) -> int:
        return 1 if self.fed else self.prompt


def simulate(demand: Demand, *, reserve: bool, turns: int = TURNS) -> Outcome:
    """Until nobody waits any more: from there on there is memory for all."""
    pool = BlockPool(blocks=demand.pool_tokens // BLOCK_TOKENS, block_tokens=BLOCK_TOKENS)
    limits = Limits(max_turns=turns, queue_turns=turns, queue_s=1.0, chunk_tokens=demand.pool_tokens)
    scheduler = Scheduler(limits, pool)
    waiting = _draw_turns(demand, turns)
    for number, (session, turn) in enumerate(waiting.items()):
        most = turn.prompt + demand.most_new
        size = Size(prompt=most if reserve else turn.prompt, most=most)
        scheduler.join(Ticket(session=session, size=size, due_s=0.0, arrived_s=float(number)))
    running: dict[str, _Turn] = {}
    at_once, waste, sat_out, longest = [], [], [], 0
    while True:
        running |= {session: waiting.pop(session) for session, _ in scheduler.admit()}
        if not waiting:
            break
        plan = scheduler.plan({session: turn.ready for session, turn in running.items()})
        rows = {share.session: share.rows for share in plan.shares}
        for session, turn in running.items():
            turn.fed += rows.get(session, 0)
            turn.sat_out = 0 if session in rows else turn.sat_out + 1
            longest = max(longest, turn.sat_out)
        at_once.append(len(running))
        sat_out.append(1 - len(rows) / len(running))
        used = (pool.blocks - pool.free) * BLOCK_TOKENS
        waste.append(1 - sum(turn.fed for turn in running.values()) / used)
        for session in [session for session, turn in running.items() if turn.fed >= turn.tokens]:
            scheduler.leave(session)
            del running[session]
    return Outcome(turns=fmean(at_once), waste=fmean(waste), sat_out=fmean(sat_out), longest_wait=longest)


def _draw_turns(demand: Demand, turns: int) -> dict[str, _Turn]:
    dice = random.Random(SEED)
    drawn = {}
    for number in range(turns):
        prompt = dice.randint(*PROMPTS)
        reply = min(demand.most_new, 1 + int(dice.expovariate(1 / demand.mean_new)))
        drawn[str(number)] = _Turn(prompt=prompt, tokens=prompt + reply)
    return drawn
