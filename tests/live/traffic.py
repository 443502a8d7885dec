"""Listeners who never stop: each speaks one turn after the other and compares every sample with the reply
that is expected. What breaks is written down with its time, so that it can be laid beside what was done.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from openai import AsyncOpenAI

from tests.e2e.replies import SPOKEN, Reply, ask_about, hear

SPOKEN_TURN: Final[dict[str, Any]] = {
    **ask_about(text="Tell me a story."),
    **SPOKEN,
    "max_tokens": 24,
    "seed": 7,
}
TURN_S: Final = 120.0
ROUNDING: Final = 1
"""Steps of 16-bit PCM by which batches of other sizes may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One turn. Times are seconds since the traffic began."""

    listener: int
    began_s: float
    ended_s: float
    fault: str | None = None


@dataclass(slots=True)
class Traffic:
    began: float = field(default_factory=time.monotonic)
    turns: list[Heard] = field(default_factory=list)

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began

    def faults(self) -> list[Heard]:
        return [turn for turn in self.turns if turn.fault is not None]

    def count_between(self, from_s: float, until_s: float) -> int:
        """Turns that were under way at some moment of the time."""
        return sum(turn.began_s <= until_s and turn.ended_s >= from_s for turn in self.turns)


@asynccontextmanager
async def listen(url: str, *, listeners: int) -> AsyncIterator[Traffic]:
    """Until left; every listener then hears his last reply to its end."""
    traffic, leave = Traffic(), asyncio.Event()
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=TURN_S) as client:
        expected = await hear(client, SPOKEN_TURN)
        assert expected.codes > 50, "a reply of a second at least"
        async with asyncio.TaskGroup() as tasks:
            for number in range(listeners):
                tasks.create_task(_listen(client, traffic, expected, number, leave))
            try:
                yield traffic
            finally:
                leave.set()


async def _listen(
    client: AsyncOpenAI, traffic: Traffic, expected: Reply, listener: int, leave: asyncio.Event
) -> None:
    while not leave.is_set():
        began_s = traffic.now_s
        try:
            async with asyncio.timeout(TURN_S):
                fault = compare(await hear(client, SPOKEN_TURN), expected)
        except Exception as error:  # noqa: BLE001  # whatever a client may see is a fault
            fault = repr(error)
        traffic.turns.append(Heard(listener=listener, began_s=began_s, ended_s=traffic.now_s, fault=fault))
        if fault is not None:
            await asyncio.sleep(0.2)  # a refused listener does not hammer


def compare(reply: Reply, expected: Reply) -> str | None:
    """What is wrong with a reply; None if it is the expected one to the last sample."""
    if reply.text != expected.text:
        return f"text {reply.text!r} in place of {expected.text!r}"
    if reply.finish_reason != expected.finish_reason:
        return f"finished by {reply.finish_reason} in place of {expected.finish_reason}"
    heard, right = (np.frombuffer(each.pcm, np.int16).astype(int) for each in (reply, expected))
    if heard.size != right.size:
        return f"{heard.size} samples in place of {right.size}"
    if (worst := int(np.abs(heard - right).max())) > ROUNDING:
        return f"a sample is {worst} steps off"
    return None
