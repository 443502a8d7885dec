"""One stage's run over a fake of the seam to the replicas; what callers hear of it is in test_replays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tercet_gateway.conductor import Event
from tercet_gateway.errors import unavailable_error
from tercet_gateway.outbox import Outbox
from tercet_gateway.stage_run import StageRun
from tercet_gateway.stages.messages import StageMessage
from tercet_wire.names import Stage


class Lost:
    """A stream to a replica that is gone at once, and whose writer takes its time to end."""

    def __init__(self, ended: asyncio.Event) -> None:
        self.ending = asyncio.Event()
        self.ended = ended

    async def open(self, _: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ending.set()
            await self.ended.wait()

    async def messages(self) -> AsyncIterator[StageMessage]:
        await asyncio.sleep(0)
        raise unavailable_error("gone")
        yield


class Replicas:
    """Of which there is always another."""

    def __init__(self) -> None:
        self.streams: list[Lost] = []
        self.opened = asyncio.Event()
        self.ended = asyncio.Event()

    @asynccontextmanager
    async def stream(self, stage: Stage, turn_id: str) -> AsyncIterator[Any]:
        self.streams.append(Lost(self.ended))
        self.opened.set()
        yield self.streams[-1]

    def has_willing(self, stage: Stage) -> bool:
        return True

    def settle(self) -> None:
        return


class Nobody:
    def observe_stage(self, stage: Stage, phase: str, seconds: float) -> None:
        return

    def observe_replay(self, stage: Stage, outcome: str) -> None:
        return


async def test_cancellation_in_the_moment_of_a_loss_ends_the_run() -> None:
    """It comes while the loss still waits for the writer to end; no other replica is asked."""
    replicas = Replicas()
    told: list[Event] = []

    async def tell(event: Event) -> None:
        told.append(event)

    run = StageRun(
        Stage.TALKER,
        "turn",
        Outbox({}, lambda _: True),
        stages=replicas,
        tell=tell,
        observer=Nobody(),
        return_s=60,
    )
    task = asyncio.create_task(run.run())
    async with asyncio.timeout(5):
        await replicas.opened.wait()
        (stream,) = replicas.streams
        await stream.ending.wait()
    task.cancel()
    await asyncio.sleep(0)
    replicas.ended.set()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
    assert len(replicas.streams) == 1
    assert told == []
