"""Drives one turn: a conductor, a run of each stage it opens, a listener, and the clock.

The shells (`streaming`, `whole`) call `TurnRun.run`. Whatever happens is put in one inbox and handed to the
conductor; what the conductor wants is carried out. When `run` returns, every stream is closed or cancelled.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal, Protocol, assert_never

from tercet_wire.names import Stage

from tercet_gateway.conductor import (
    Abandoned,
    CancelStage,
    ClientLeft,
    Conductor,
    Delta,
    Event,
    Failed,
    FeedStage,
    Finished,
    OpenStage,
    Outcome,
    Outgoing,
    PcmDelta,
    ShutDown,
    StageFailed,
    TextDelta,
    TimedOut,
)
from tercet_gateway.errors import timeout_error
from tercet_gateway.logs import log_event
from tercet_gateway.outbox import Outbox
from tercet_gateway.settings import Timeouts
from tercet_gateway.stage_run import StageObserver, StageRun, Stages
from tercet_gateway.tasks import Tasks

_log: Final = logging.getLogger(__name__)
_INBOX: Final = 64
"""Messages not yet looked at. Full: the streams wait, and gRPC holds the stages back."""


class Listener(Protocol):
    def hear(self, delta: Delta) -> bool:
        """Take a delta without waiting. False: the listener is too slow, end the turn."""


class Observer(StageObserver, Protocol):
    def abandon(self, why: Literal["gone", "slow"], seconds: float) -> None: ...


class TurnRun:
    """`client_left` returns when the client has gone, `closing` is set when the gateway waits no longer.

    `hold` is for outboxes. `run` may be called once.
    """

    def __init__(
        self,
        turn_id: str,
        conductor: Conductor,
        *,
        stages: Stages,
        client_left: Callable[[], Awaitable[None]],
        closing: asyncio.Event,
        timeouts: Timeouts,
        observer: Observer,
        hold: Callable[[int], bool],
    ) -> None:
        self._turn_id = turn_id
        self._conductor = conductor
        self._stages = stages
        self._client_left = client_left
        self._closing = closing
        self._timeouts = timeouts
        self._observer = observer
        self._hold = hold
        self._inbox: asyncio.Queue[Event] = asyncio.Queue(_INBOX)
        self._outboxes: dict[Stage, Outbox] = {}
        self._streams: dict[Stage, asyncio.Task[None]] = {}

    async def run(self, listener: Listener) -> Outcome:
        async with Tasks() as tasks:
            watchers = [tasks.create_task(self._watch_client()), tasks.create_task(self._watch_closing())]
            outcome = await self._conduct(tasks, listener)
            ended_s = time.monotonic()
            for watcher in watchers:
                watcher.cancel()
        if isinstance(outcome, Failed):
            error = outcome.error
            log_event(_log, "turn_failed", turn=self._turn_id, status=error.status, detail=error.detail)
        if isinstance(outcome, Abandoned):
            self._observer.abandon(outcome.why, time.monotonic() - ended_s)
        return outcome

    # --- the loop ------------------------------------------------------------------------------

    async def _conduct(self, tasks: Tasks, listener: Listener) -> Outcome:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._timeouts.total_s
        wait_s = self._timeouts.first_message_s
        phase: Literal["first_message", "idle"] = "first_message"
        while True:
            while outgoing := self._conductor.outgoing():
                for wish in outgoing:
                    outcome = self._carry_out(wish, tasks, listener)
                    if outcome is not None:
                        return outcome
            event = await self._next_event(min(loop.time() + wait_s, end_s), phase, end_s)
            wait_s, phase = self._timeouts.idle_s, "idle"
            self._conductor.receive(event)

    def _carry_out(self, wish: Outgoing, tasks: Tasks, listener: Listener) -> Outcome | None:
        match wish:
            case OpenStage():
                self._streams[wish.stage] = tasks.create_task(self._open_stage(wish).run())
            case FeedStage():
                self._feed(wish)
            case CancelStage():
                self._streams[wish.stage].cancel()
            case TextDelta() | PcmDelta():
                if not listener.hear(wish):
                    self._conductor.receive(ClientLeft("slow"))
            case Finished() | Failed() | Abandoned():
                return wish
            case _:
                assert_never(wish)
        return None

    def _open_stage(self, wish: OpenStage) -> StageRun:
        outbox = self._outboxes[wish.stage] = Outbox(wish.tensors, self._hold)
        return StageRun(
            wish.stage,
            self._turn_id,
            outbox,
            stages=self._stages,
            tell=self._inbox.put,
            observer=self._observer,
            return_s=self._timeouts.return_s,
        )

    def _feed(self, wish: FeedStage) -> None:
        if not self._outboxes[wish.stage].put(wish.tensors):
            error = timeout_error(f"{wish.stage} takes no input")
            self._conductor.receive(StageFailed(wish.stage, error))

    async def _next_event(
        self, until_s: float, phase: Literal["first_message", "idle"], end_s: float
    ) -> Event:
        try:
            async with asyncio.timeout_at(until_s):
                return await self._inbox.get()
        except TimeoutError:
            return TimedOut("total" if until_s == end_s else phase)

    async def _watch_client(self) -> None:
        await self._client_left()
        await self._inbox.put(ClientLeft("gone"))

    async def _watch_closing(self) -> None:
        await self._closing.wait()
        await self._inbox.put(ShutDown())
