"""Runs many turns at once against a server and notes when their parts arrive.

Used by `tercet bench` and by the benchmarks of `bench/`. Knows nothing of reports; what the times mean is
in `timings`.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import httpx
from tercet_wire.names import SAMPLE_RATE_HZ

from tercet_cli.errors import CommandError
from tercet_cli.replies import Counted, SoundDelta, TextDelta
from tercet_cli.servers import Request, Server, stream_reply
from tercet_cli.timings import Sound, TurnFigures, TurnRecord, turn_figures

_BYTES_PER_S = 2 * SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All turns of one run; `failures` holds a line for each that failed."""

    turns: tuple[TurnFigures, ...]
    failures: tuple[str, ...]
    wall_s: float

    @property
    def audio_s(self) -> float:
        return sum(turn.audio_s for turn in self.turns)

    @property
    def text_tokens(self) -> int:
        return sum(turn.text_tokens for turn in self.turns)


async def measure_run(
    server: Server,
    requests: Sequence[Request],
    *,
    at_once: int,
    on_turn: Callable[[], None] = lambda: None,
) -> Run:
    """Run a turn for each request, `at_once` of them at any time; raises CommandError if none succeeds."""
    turns: list[TurnFigures] = []
    failures: list[str] = []
    waiting = iter(requests)

    async def keep_asking(client: httpx.AsyncClient, waiting: Iterator[Request]) -> None:
        for request in waiting:
            try:
                turns.append(turn_figures(await measure_turn(server, client, request)))
            except CommandError as error:
                failures.append(str(error))
            on_turn()

    async with server.async_client(at_once) as client:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(keep_asking(client, waiting))
        wall_s = time.perf_counter() - started
    if not turns:
        raise CommandError(
            failures[0] if failures else "no turn was asked for: --requests must be at least 1"
        )
    return Run(turns=tuple(turns), failures=tuple(failures), wall_s=wall_s)


async def measure_turn(server: Server, client: httpx.AsyncClient, request: Request) -> TurnRecord:
    """Run one turn to its end."""
    text_s: list[float] = []
    sounds: list[Sound] = []
    counted = Counted(text_tokens=0, codes=0)
    sent_s = time.perf_counter()
    async for delta in stream_reply(server, client, request):
        match delta:
            case TextDelta():
                text_s.append(time.perf_counter())
            case SoundDelta(pcm=pcm):
                sounds.append(Sound(at_s=time.perf_counter(), seconds=len(pcm) / _BYTES_PER_S))
            case Counted():
                counted = delta
            case _:
                pass
    return TurnRecord(
        sent_s=sent_s,
        text_s=tuple(text_s),
        sounds=tuple(sounds),
        text_tokens=counted.text_tokens,
        codes=counted.codes,
    )
