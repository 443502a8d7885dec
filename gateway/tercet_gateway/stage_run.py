"""One stage of a turn, from its first request to its last word, whichever replicas that takes.

`turns` runs one for each stage that it opens. When a replica is lost, another of the same generation is given
all that this one was given, and what it says again is passed over: the turn goes on as if nothing had been.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import grpc
from tercet_wire.names import Stage, Tensor

from tercet_gateway.conductor import Event, StageEnded, StageFailed
from tercet_gateway.errors import GatewayError, ReplicaLost, ReplicaRefused, unavailable_error
from tercet_gateway.heard import Diverged, Heard
from tercet_gateway.logs import log_event
from tercet_gateway.outbox import Outbox
from tercet_gateway.stages.blobs import Tensors, text_blob
from tercet_gateway.stages.messages import StageMessage
from tercet_gateway.stages.stream import StageStream
from tercet_gateway.tasks import Tasks

_log: Final = logging.getLogger(__name__)
_REPLAYS: Final = 2
"""A turn under which a stage ends a third time may well be what ends it, and must not go round them all."""
_FIRST_PAUSE_S: Final = 0.1
_LAST_PAUSE_S: Final = 1.0

Phase = Literal["connect", "first", "inside", "total"]
"""`inside`: how much of `first` the stage had the turn; the rest is the way to it and back."""
ReplayOutcome = Literal["resumed", "diverged", "no_replica", "too_large", "too_often"]


class Stages(Protocol):
    """Where a turn's streams come from; `stages.pool.PinnedStages` is the real one."""

    def stream(self, stage: Stage, turn_id: str) -> AbstractAsyncContextManager[StageStream]: ...

    def has_willing(self, stage: Stage) -> bool: ...

    def settle(self) -> None: ...


class StageObserver(Protocol):
    def observe_stage(self, stage: Stage, phase: Phase, seconds: float) -> None: ...

    def observe_replay(self, stage: Stage, outcome: ReplayOutcome) -> None: ...


@dataclass(slots=True, kw_only=True)
class _Outage:
    """From the loss of a replica until another has said all that was heard."""

    since_s: float
    pause_s: float = _FIRST_PAUSE_S


class StageRun:
    """`tell` takes what the stage says, then StageEnded or StageFailed."""

    def __init__(
        self,
        stage: Stage,
        turn_id: str,
        outbox: Outbox,
        *,
        stages: Stages,
        tell: Callable[[Event], Awaitable[None]],
        observer: StageObserver,
        return_s: float,
    ) -> None:
        self._stage = stage
        self._turn_id = turn_id
        self._outbox = outbox
        self._stages = stages
        self._tell = tell
        self._observer = observer
        self._return_s = return_s
        self._heard = Heard(stage)
        self._started_s = time.monotonic()
        self._reached = 0  # replicas so far
        self._is_speaking = False  # the one that was reached last
        self._is_done = False
        self._outage: _Outage | None = None

    async def run(self) -> None:
        try:
            await self._converse_until_complete()
        except GatewayError as error:
            await self._tell(StageFailed(self._stage, error))
        finally:
            self._outbox.close()

    async def _converse_until_complete(self) -> None:
        while not self._is_done:
            try:
                await self._converse()
            except ReplicaRefused as error:
                if self._heard.is_complete:
                    await self._finish()
                else:
                    await self._prepare_replay(error)
            except Diverged as error:
                self._end_outage("diverged")
                raise unavailable_error(str(error)) from error

    # --- one replica ---------------------------------------------------------------------------

    async def _converse(self) -> None:
        started_s = time.monotonic()
        self._is_speaking = False
        async with self._stages.stream(self._stage, self._turn_id) as stream, Tasks() as tasks:
            self._reached += 1
            self._observe("connect", started_s)
            writer = tasks.create_task(self._write(stream))
            async for message in stream.messages():
                await self._hear(message)
            await self._finish()
            writer.cancel()
            await stream.close()

    async def _finish(self) -> None:
        self._is_done = True
        self._observe("total", self._started_s)
        await self._tell(StageEnded(self._stage))

    async def _write(self, stream: StageStream) -> None:
        try:
            await stream.open(await self._next_request())
            while True:
                await stream.feed(await self._next_request())
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            # The call has ended; the reading side learns why and says so.
            return

    async def _next_request(self) -> Tensors:
        tensors = await self._outbox.take()
        if self._reached == 1:
            return tensors
        # A replica that was lost may come back without knowing that it was, and the session still open there.
        return {**tensors, Tensor.SESSION: text_blob(f"{self._turn_id}.{self._reached}")}

    async def _hear(self, message: StageMessage) -> None:
        if not self._heard.has_begun:
            self._observe("first", self._started_s)
            self._observer.observe_stage(self._stage, "inside", message.event.elapsed_s)
            self._stages.settle()
        self._is_speaking = True
        self._outbox.settle()
        fresh = self._heard.take(message)
        if not self._heard.is_behind:
            self._end_outage("resumed")
        await self._tell(fresh)

    def _observe(self, phase: Phase, started_s: float) -> None:
        self._observer.observe_stage(self._stage, phase, time.monotonic() - started_s)

    # --- another one ---------------------------------------------------------------------------

    async def _prepare_replay(self, error: ReplicaRefused) -> None:
        """Return when the stage can be opened anew; raises `error` if it cannot."""
        _end_if_cancelled()
        if isinstance(error, ReplicaLost):
            self._begin_outage(error)
        elif self._is_speaking:
            raise error
        why_not = self._why_not()
        if why_not is not None:
            self._end_outage(why_not)
            raise error
        if not self._stages.has_willing(self._stage):
            await self._pause()
        self._outbox.rewind()
        self._heard.rewind()

    def _why_not(self) -> ReplayOutcome | None:
        if not self._outbox.is_kept:
            return "too_large"
        if self._reached > _REPLAYS:
            return "too_often"
        if self._stages.has_willing(self._stage) or self._may_wait():
            return None
        return "no_replica"

    def _may_wait(self) -> bool:
        """For a replica to come back; not before the client has heard of the turn, as it can come again."""
        has_begun = self._heard.has_begun or self._stage is not Stage.THINKER
        return (
            has_begun
            and self._outage is not None
            and time.monotonic() - self._outage.since_s < self._return_s
        )

    async def _pause(self) -> None:
        assert self._outage is not None  # noqa: S101 - `_may_wait` has looked
        await asyncio.sleep(self._outage.pause_s)
        self._outage.pause_s = min(2 * self._outage.pause_s, _LAST_PAUSE_S)

    def _begin_outage(self, error: ReplicaLost) -> None:
        has_begun = self._reached or self._stage is not Stage.THINKER
        if has_begun and self._outage is None:
            self._outage = _Outage(since_s=time.monotonic())
            log_event(_log, "replica_lost", turn=self._turn_id, stage=self._stage.value, detail=error.detail)

    def _end_outage(self, outcome: ReplayOutcome) -> None:
        if self._outage is None:
            return
        seconds = time.monotonic() - self._outage.since_s
        self._outage = None
        self._observer.observe_replay(self._stage, outcome)
        log_event(
            _log,
            "replay_ended",
            turn=self._turn_id,
            stage=self._stage.value,
            outcome=outcome,
            replicas=self._reached,
            seconds=seconds,
        )


def _end_if_cancelled() -> None:
    """Before Python 3.13 a task group forgets who cancels it while a failure is ending its tasks."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
