"""The product against transformers' `generate`: same machine, same weights, same run.

They take turns, round after round, so that a machine that gets slower does so for all. The product is asked
over HTTP, through the gateway and Triton, and measured twice: with transformers' own solver, and with the
cheapest one whose words are heard as well. transformers is called in this process and has every core.
Both reply with equally many tokens of text, and the demo model's speech follows its text; how far the lengths
of the sound differ is reported.
"""

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from tercet_cli.measuring import Run, measure_run
from tercet_cli.servers import Server
from tercet_cli.sources import resolve_source

from bench.product import MIDPOINT_YAML, MODEL, Product, ProductError, serve
from bench.progress import say
from bench.reports import Claim, Report
from bench.transformers_peer import PeerRun, TransformersPeer
from bench.workload import Workload, read_workload

AT_ONCE: Final = 8
SINGLES: Final = 3
"""Turns of the product alone in a round: they are short, and TTFA is a small time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRun:
    single: Run
    many: Run
    gateway_cpu_s: float
    """Of the gateway process during `many`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round measured, each alone on the machine."""

    product: ProductRun
    midpoint: ProductRun
    peer_single: PeerRun
    peer_many: PeerRun


def run(cache: Path, *, rounds: int, text_tokens: int) -> Report:
    checkpoint = resolve_source("demo://bench", cache_root=cache)
    workload = read_workload(checkpoint, text_tokens)
    peer = TransformersPeer(checkpoint, threads=os.cpu_count() or 1)
    with serve(cache) as product, serve(cache, MIDPOINT_YAML) as midpoint:
        say("warm-up")
        short = Workload(text_tokens=8, end_tokens=workload.end_tokens)
        for each in (product, midpoint):
            _ask(each.server, short, at_once=AT_ONCE, requests=AT_ONCE)
        peer.speak(short, turns=1)
        measured = []
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            measured.append(
                Round(
                    product=_measure("Tercet", product, workload),
                    midpoint=_measure("Tercet, midpoint", midpoint, workload),
                    peer_single=_measure_peer(peer, workload, turns=1),
                    peer_many=_measure_peer(peer, workload, turns=AT_ONCE),
                )
            )
        rss_bytes = product.gateway_cost().rss_bytes
    return judge(measured, gateway_rss_bytes=rss_bytes)


def _measure(name: str, product: Product, workload: Workload) -> ProductRun:
    single = _ask(product.server, workload, at_once=1, requests=SINGLES)
    say(f"  {name}, one at a time: {_times(single.wall_s, single.audio_s)}")
    before = product.gateway_cost().cpu_s
    many = _ask(product.server, workload, at_once=AT_ONCE, requests=AT_ONCE)
    gateway_cpu_s = product.gateway_cost().cpu_s - before
    say(f"  {name}, {AT_ONCE} at once: {_times(many.wall_s, many.audio_s)}")
    return ProductRun(single=single, many=many, gateway_cpu_s=gateway_cpu_s)


def _measure_peer(peer: TransformersPeer, workload: Workload, *, turns: int) -> PeerRun:
    run = peer.speak(workload, turns=turns)
    say(f"  transformers, batch of {turns}: {_times(run.wall_s, run.audio_s)}")
    return run


def _times(wall_s: float, audio_s: float) -> str:
    return f"{audio_s:.1f} s of sound in {wall_s:.1f} s"


def _ask(server: Server, workload: Workload, *, at_once: int, requests: int) -> Run:
    asked = [workload.request(MODEL) for _ in range(requests)]
    run = asyncio.run(measure_run(server, asked, at_once=at_once))
    if run.failures:
        raise ProductError(f"{len(run.failures)} turns failed, the first: {run.failures[0]}")
    return run


# --- what the rounds say (pure) ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Medians over the rounds, of the product or of its peer."""

    ttfa_s: float
    rtf: float
    throughput: float
    """Seconds of sound a second, with AT_ONCE turns."""
    audio_s: float
    """Of one turn."""


def judge(rounds: Sequence[Round], *, gateway_rss_bytes: int) -> Report:
    ours, theirs = _product_side([each.product for each in rounds]), _peer_side(rounds)
    cheap = _product_side([each.midpoint for each in rounds])
    return Report(
        name="against_transformers",
        title=f"One turn, and {AT_ONCE} at once, against transformers (medians of {len(rounds)} rounds)",
        columns=("", "transformers", "Tercet", "ratio", "Tercet, midpoint", "ratio"),
        rows=[
            _row("first sound, s", theirs.ttfa_s, ours.ttfa_s, cheap.ttfa_s),
            _row("RTF of one turn", theirs.rtf, ours.rtf, cheap.rtf),
            _row(f"sound a second, {AT_ONCE} turns, s", theirs.throughput, ours.throughput, cheap.throughput),
            _row("sound of one turn, s", theirs.audio_s, ours.audio_s, cheap.audio_s),
            *_other_rows(rounds, gateway_rss_bytes),
        ],
        claims=_claims(ours, cheap, theirs),
        raw={"rounds": [asdict(each) for each in rounds], "gateway_rss_bytes": gateway_rss_bytes},
    )


def _product_side(runs: Sequence[ProductRun]) -> Side:
    turns = [turn for each in runs for turn in each.single.turns]
    return Side(
        ttfa_s=_median(turn.ttfa_s for turn in turns),
        rtf=_median(turn.rtf for turn in turns),
        throughput=median(each.many.audio_s / each.many.wall_s for each in runs),
        audio_s=median(turn.audio_s for turn in turns),
    )


def _peer_side(rounds: Sequence[Round]) -> Side:
    singles = [each.peer_single for each in rounds]
    return Side(
        ttfa_s=median(single.wall_s for single in singles),
        rtf=median(single.wall_s / single.audio_s for single in singles),
        throughput=median(each.peer_many.audio_s / each.peer_many.wall_s for each in rounds),
        audio_s=median(single.audio_s for single in singles),
    )


def _claims(ours: Side, cheap: Side, theirs: Side) -> list[Claim]:
    alike = min(ours.audio_s, theirs.audio_s) / max(ours.audio_s, theirs.audio_s)
    return [
        Claim(
            text="time to first sound, times lower",
            measured=theirs.ttfa_s / ours.ttfa_s,
            target=60,
            at_least=True,
        ),
        Claim(
            text="RTF of one turn, share of theirs",
            measured=ours.rtf / theirs.rtf,
            target=0.25,
            at_least=False,
        ),
        Claim(
            text="the same with midpoint and 4 points",
            measured=cheap.rtf / theirs.rtf,
            target=0.125,
            at_least=False,
        ),
        Claim(
            text=f"sound a second with {AT_ONCE} turns, times theirs",
            measured=ours.throughput / theirs.throughput,
            target=4,
            at_least=True,
        ),
        Claim(text="replies are as long (shorter / longer)", measured=alike, target=0.9, at_least=True),
    ]


def _row(heading: str, theirs: float, *ours: float) -> tuple[str, ...]:
    cells = [(f"{each:.3f}", f"{max(each, theirs) / min(each, theirs):.1f}") for each in ours]
    return heading, f"{theirs:.3f}", *(text for pair in cells for text in pair)


def _other_rows(rounds: Sequence[Round], gateway_rss_bytes: int) -> list[tuple[str, ...]]:
    headings = (
        f"first sound, {AT_ONCE} turns, s",
        f"underrun, {AT_ONCE} turns, s",
        "gateway, ms of CPU a second of sound",
    )
    ours, cheap = _crowd([each.product for each in rounds]), _crowd([each.midpoint for each in rounds])
    return [
        *(
            (heading, "", one, "", other, "")
            for heading, one, other in zip(headings, ours, cheap, strict=True)
        ),
        ("gateway, MiB of memory", "", f"{gateway_rss_bytes / 2**20:.0f}", "", "", ""),
    ]


def _crowd(runs: Sequence[ProductRun]) -> tuple[str, str, str]:
    """Of AT_ONCE turns: first sound, underrun, and the gateway's CPU."""
    turns = [turn for each in runs for turn in each.many.turns]
    cpu = median(each.gateway_cpu_s / each.many.audio_s for each in runs)
    return (
        f"{_median(turn.ttfa_s for turn in turns):.3f}",
        f"{_median(turn.underrun_s for turn in turns):.3f}",
        f"{1000 * cpu:.1f}",
    )


def _median(values: Iterable[float | None]) -> float:
    return median(value for value in values if value is not None)
