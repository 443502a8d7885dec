"""A picture of a run: what was done, how many servers each generation had, and every turn that was heard.

`Recorder` looks at the cluster every second; `draw` makes an SVG of it and of the traffic.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

from tests.live.conftest import Release
from tests.live.traffic import Traffic

LOOK_S: Final = 1.0
WIDTH: Final = 960
LEFT: Final = 150
ROW: Final = 16
COLOURS: Final = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Pods by generation: ready and in all."""

    at_s: float
    pods: dict[str, tuple[int, int]]


@dataclass(slots=True, kw_only=True)
class Record:
    looks: list[Look] = field(default_factory=list)
    done: list[tuple[str, float, float]] = field(default_factory=list)
    """What was done, from when to when."""

    def generations(self) -> list[str]:
        """In the order of their appearance."""
        return list(dict.fromkeys(name for look in self.looks for name in look.pods))


@asynccontextmanager
async def recording(release: Release, traffic: Traffic) -> AsyncIterator[Record]:
    record = Record()

    async def look() -> None:
        while True:
            at_s = traffic.now_s
            pods = await asyncio.to_thread(_count_pods, release)
            if pods is not None:
                record.looks.append(Look(at_s=at_s, pods=pods))
            await asyncio.sleep(LOOK_S)

    looking = asyncio.create_task(look())
    try:
        yield record
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def _count_pods(release: Release) -> dict[str, tuple[int, int]] | None:
    answer = release.kubectl.ask(
        "get", "pods", "--selector=tercet.dev/generation", "--output=json", "--request-timeout=2s"
    )
    if answer.returncode:
        return None
    ready: Counter[str] = Counter()
    all_: Counter[str] = Counter()
    for pod in json.loads(answer.stdout)["items"]:
        generation = pod["metadata"]["labels"]["tercet.dev/generation"]
        conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
        all_[generation] += 1
        ready[generation] += conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]
    return {generation: (ready[generation], count) for generation, count in all_.items()}


def draw(record: Record, traffic: Traffic, title: str) -> str:
    """An SVG document."""
    end_s = max(turn.ended_s for turn in traffic.turns)
    generations = record.generations()
    listeners = max(turn.listener for turn in traffic.turns) + 1
    height = 40 + ROW * (len(record.done) + 2 * len(generations) + listeners) + 60

    def x(time_s: float) -> float:
        return round(LEFT + (WIDTH - LEFT - 10) * time_s / end_s, 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="18" font-size="13">{title}</text>',
    ]
    y = 36
    for name, from_s, until_s in record.done:
        lines.append(_bar(x(from_s), x(until_s), y, ROW - 4, "#dddddd"))
        lines.append(f'<text x="10" y="{y + 10}">{name}</text>')
        y += ROW
    for colour, generation in zip(cycle(COLOURS), generations, strict=False):
        y += 2 * ROW
        lines.append(f'<text x="10" y="{y - 6}">servers {generation}</text>')
        lines += _draw_pods(record, generation, colour, x, y)
    y += ROW
    for listener in range(listeners):
        lines.append(f'<text x="10" y="{y + 10}">listener {listener + 1}</text>')
        for turn in (each for each in traffic.turns if each.listener == listener):
            colour = "#88bb99" if turn.fault is None else "#cc0000"
            lines.append(_bar(x(turn.began_s), x(turn.ended_s), y, ROW - 6, colour))
        y += ROW
    step_s = 60 if end_s > 240 else 10
    for mark in range(0, int(end_s) + 1, step_s):
        lines.append(f'<text x="{x(mark)}" y="{y + 16}" fill="#666666">{mark} s</text>')
    return "\n".join([*lines, "</svg>\n"])


def _draw_pods(
    record: Record, generation: str, colour: str, x: Callable[[float], float], y: int
) -> Iterator[str]:
    """All of them pale, the ready ones full."""
    for look, next_look in zip(record.looks, record.looks[1:], strict=False):
        ready, count = look.pods.get(generation, (0, 0))
        for shown, opacity in ((count, 0.3), (ready, 1.0)):
            if shown:
                left, right = x(look.at_s), x(next_look.at_s)
                yield _bar(left, right, y - 8 * shown, 8 * shown, colour, opacity=opacity)


def _bar(left: float, right: float, top: float, height: float, colour: str, *, opacity: float = 1.0) -> str:
    width = max(0.6, round(right - left - 0.3, 1))
    return (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="{colour}" opacity="{opacity}"/>'
    )
