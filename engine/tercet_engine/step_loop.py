"""The thread that owns a decoder: inbox, places, one step, outputs, and again.

Thinker and talker each run one loop per device. Hosts reach it through `stage.StageEngine`, whose methods
only put work into the inbox; what differs between the two stages stands behind `DecoderStage` and
`Reply`. A turn that fails ends alone: a step that fails as a whole is taken again turn by turn.
Every turn leaves through `_end`, so its KV blocks always return and its sink is closed once.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, repeat
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

import torch
from tercet_wire.messages import Load, StageFailure
from tercet_wire.settings import StageSettings

from tercet_engine.decoder.blocks import BlockPool
from tercet_engine.decoder.kv import KVCache, Layout, Span, order_spans
from tercet_engine.decoder.pacing import Pace
from tercet_engine.decoder.reply import DecoderStage, Outlet, Portion, Reply
from tercet_engine.decoder.sampling import Crowd, Picked, Picker, pick
from tercet_engine.decoder.scheduler import Limits, Scheduler, Share, Ticket
from tercet_engine.decoder.uploads import Download, upload
from tercet_engine.device import DeviceLost, ending_if_lost
from tercet_engine.lookout import WATCH_S, Lookout
from tercet_engine.stage import Sink, StageError
from tercet_engine.threads import use_threads

_log = logging.getLogger(__name__)

_IDLE_S: Final = 1.0
_SHUTDOWN_S: Final = 10.0

Input = TypeVar("Input")
Output = TypeVar("Output")


@dataclass(slots=True, kw_only=True)
class _Turn(Generic[Input, Output]):
    """A turn from its arrival to its end."""

    session: str
    sink: Sink[Output]
    reply: Reply[Input]
    arrived_s: float
    guard: "_Within"
    """A failure in here ends this turn and no other, unless the device is lost, which ends all."""
    has_asked: bool = False
    """It waits for a place in the scheduler, or has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seat(Generic[Input, Output]):
    """A turn that has its place and blocks."""

    number: int
    turn: _Turn[Input, Output]
    picker: Picker


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lineup(Generic[Input, Output]):
    """The turns of a step in the order of their rows, which may take the next step too."""

    shares: Sequence[Share]
    seats: Sequence[_Seat[Input, Output]]
    portions: Sequence[Portion[Reply[Input]]]
    layout: Layout
    complete: Sequence[int]
    """Those from whose last row a token follows."""
    lasts: torch.Tensor | None
    """The last rows of these; None if that is every row."""
    crowd: Crowd

    def is_next(self, shares: Sequence[Share]) -> bool:
        """Whether these shares, after its own, are those of the same turns that go on decoding."""
        return self.lasts is None and self.layout.goes_on and shares == self.shares


class StepLoop(Generic[Input, Output]):
    """A `StageEngine` over one decoder on one device."""

    def __init__(
        self,
        # Any: the stage's own reply type, which only the stage looks into.
        stage: DecoderStage[Input, Output, Any],
        cache: KVCache,
        pool: BlockPool,
        settings: StageSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage = stage
        self._cache = cache
        self._settings = settings
        self._clock = clock
        self._pace = Pace()
        self._scheduler = Scheduler(_read_limits(settings), pool)
        self._turns: dict[str, _Turn[Input, Output]] = {}
        self._seats: dict[str, _Seat[Input, Output]] = {}
        self._lineup: _Lineup[Input, Output] | None = None
        self._unlearned: set[str] = set()
        """Those in seats whose prompt may still be on its way."""
        self._load = Load()
        self._lookout = Lookout()
        self._inbox: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"{settings.stage}-steps", daemon=True)
        self._thread.start()

    # --- from any thread ---------------------------------------------------------------------

    def open(self, session: str, first: Input, sink: Sink[Output]) -> None:
        if not self._post(partial(self._open, session, first, sink, self._clock())):
            sink.close(_SHUT_DOWN)

    def feed(self, session: str, more: Input) -> None:
        self._post(partial(self._tell, session, lambda reply: reply.feed(more)))

    def cancel(self, session: str) -> None:
        self._post(partial(self._end, session, _GONE))

    def load(self) -> Load:
        return self._load

    def shutdown(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(_SHUTDOWN_S)

    def _post(self, action: Callable[[], None]) -> bool:
        with self._wake:
            if not self._stopping:
                self._inbox.append(action)
                self._wake.notify()
            return not self._stopping

    # --- the loop ----------------------------------------------------------------------------

    def _run(self) -> None:
        use_threads(self._settings.threads)
        if self._cache.memory.device.type == "cuda":
            torch.cuda.set_device(self._cache.memory.device)  # kernels that are not torch's own go there
        reason = _INTERNAL
        try:
            with torch.inference_mode():
                while not self._stopping:
                    self._read_inbox()
                    self._drop_gone()
                    self._admit()
                    shares = self._plan()
                    if shares:
                        self._take_step(shares)
                    self._load = self._measure()
                    if not shares:
                        self._rest()
            reason = _SHUT_DOWN
        finally:
            self._end_all(reason)

    def _read_inbox(self) -> None:
        with self._wake:
            actions = list(self._inbox)
            self._inbox.clear()
        for action in actions:
            action()

    def _drop_gone(self) -> None:
        for session in self._lookout.choose(self._turns):
            turn = self._turns.get(session)
            if turn is not None:
                with turn.guard:
                    if turn.sink.is_cancelled():
                        self._end(session, _GONE)

    def _admit(self) -> None:
        for session, grant in self._scheduler.admit():
            turn = self._turns[session]
            with turn.guard:
                picker = turn.reply.begin(grant.known)
                self._seats[session] = _Seat(number=self._cache.bind(grant.blocks), turn=turn, picker=picker)
                self._unlearned.add(session)
        self._end_each(self._scheduler.expire(self._clock()), _OVERLOADED)

    def _ready(self) -> dict[str, int]:
        return {session: seat.turn.reply.ready() for session, seat in self._seats.items()}

    def _plan(self) -> list[Share]:
        ready = self._ready()
        singles = list(ready.values()).count(1)
        paced_rows = self._pace.rows(singles=singles, most=self._settings.chunk_tokens)
        shares, grown = self._scheduler.plan(ready, paced_rows)
        self._cache.extend([(self._seats[session].number, blocks) for session, blocks in grown.items()])
        return shares

    def _take_step(self, shares: Sequence[Share]) -> None:
        began_s = time.perf_counter()
        self._step(shares)
        rows = [share.rows for share in shares]
        singles = rows.count(1)
        prompt_rows = sum(rows) - singles
        self._pace.note(singles=singles, prompt_rows=prompt_rows, took_s=time.perf_counter() - began_s)

    def _measure(self) -> Load:
        replies = (turn.reply for turn in self._turns.values())
        return Load(
            turns=len(self._seats),
            waiting=len(self._turns) - len(self._seats),
            kv_used=self._scheduler.kv_used,
            lateness_s=self._stage.find_lateness_s(replies, self._clock()),
        )

    def _rest(self) -> None:
        with self._wake:
            if not self._inbox and not self._stopping:
                self._wake.wait(WATCH_S if self._turns else _IDLE_S)

    # --- one step ----------------------------------------------------------------------------

    def _step(self, shares: Sequence[Share]) -> None:
        with _Contained(partial(self._retry, shares)):
            with ending_if_lost():
                lineup = self._lineup = self._line_up(shares)
                computed = self._compute(lineup)
            self._deliver(lineup, *computed)

    def _line_up(self, shares: Sequence[Share]) -> _Lineup[Input, Output]:
        lineup = self._lineup
        if lineup is not None and lineup.is_next(shares):
            lineup.layout.advance()
            return lineup
        seats = [self._seats[share.session] for share in shares]
        spans = [
            Span(seat=seat.number, start=seat.turn.reply.fed, rows=share.rows)
            for seat, share in zip(seats, shares, strict=True)
        ]
        order = order_spans(spans)
        seats, spans = [seats[i] for i in order], [spans[i] for i in order]
        portions = [
            Portion(reply=seat.turn.reply, rows=span.rows) for seat, span in zip(seats, spans, strict=True)
        ]
        complete = [i for i, portion in enumerate(portions) if portion.reply.completes_with(portion.rows)]
        device = self._cache.memory.device
        ends = list(accumulate(span.rows for span in spans))
        lasts = [ends[i] - 1 for i in complete]
        return _Lineup(
            shares=shares,
            seats=seats,
            portions=portions,
            layout=self._cache.plan_layout(spans),
            complete=complete,
            lasts=upload(lasts, torch.long, device) if len(lasts) < ends[-1] else None,
            crowd=Crowd([seats[i].picker for i in complete], device),
        )

    def _retry(self, shares: Sequence[Share], failure: StageFailure) -> None:
        """Each alone, so that only the culprit ends. Nothing but its own KV rows has been changed by then."""
        if len(shares) == 1:
            self._end(shares[0].session, failure)
            return
        for share in shares:
            self._step([share])

    def _compute(self, lineup: _Lineup[Input, Output]) -> tuple[torch.Tensor | None, Sequence[Picked | None]]:
        """States for the next stage, a row a row; and a token for each turn whose rows are complete."""
        decoder, portions = self._stage.decoder, lineup.portions
        rows, positions = self._stage.gather(portions)
        hidden = decoder.forward(rows, positions, lineup.layout, self._cache)
        states = self._stage.hand_on(portions, rows, hidden)
        leaving = None if states is None else Download(states)
        picked: Sequence[Picked | None] = ()
        if lineup.complete:
            if lineup.lasts is not None:
                hidden = hidden[lineup.lasts]
            picked = pick(decoder.logits(hidden), lineup.crowd)
        return None if leaving is None else leaving.take(), picked

    def _deliver(
        self,
        lineup: _Lineup[Input, Output],
        states: torch.Tensor | None,
        picked: Sequence[Picked | None],
    ) -> None:
        seats = lineup.seats
        counts = [portion.rows for portion in lineup.portions]
        parts = repeat(None) if states is None else torch.split(states, counts)
        broken, tokens = set[int](), picked
        if len(picked) < len(seats) or None in picked:
            of_turn = dict(zip(lineup.complete, picked, strict=True))
            broken = {i for i, token in of_turn.items() if token is None}
            tokens = [of_turn.get(i) for i in range(len(seats))]
        for i, (seat, rows, part, token) in enumerate(zip(seats, counts, parts, tokens, strict=False)):
            turn = seat.turn
            if i in broken:
                turn.guard.contain(ArithmeticError("the model's scores are not numbers"))
                continue
            try:  # costs nothing where nothing fails, unlike `with`
                if token is not None and turn.session in self._unlearned:
                    self._unlearned.remove(turn.session)
                    self._scheduler.learn(turn.session)
                turn.reply.receive(rows, part, token)
                if turn.reply.ended:
                    self._end(turn.session)
            except Exception as error:  # noqa: BLE001 - the guard raises what is not the turn's own
                turn.guard.contain(error)

    # --- how turns begin and end -------------------------------------------------------------

    def _open(self, session: str, first: Input, sink: Sink[Output], arrived_s: float) -> None:
        if session in self._turns:
            _close(sink, StageFailure(type="invalid_request", message=f"session {session} is already open"))
        elif len(self._turns) >= self._settings.max_turns + self._settings.queue_turns:
            _close(sink, _OVERLOADED)
        else:
            with _Within(partial(_close, sink)):
                outlet = self._outlet(session, sink, arrived_s)
                reply = self._stage.open(first, outlet)
                guard = _Within(partial(self._end, session))
                self._turns[session] = _Turn(
                    session=session, sink=sink, reply=reply, arrived_s=arrived_s, guard=guard
                )
            self._tell(session, lambda _: None)

    def _outlet(self, session: str, sink: Sink[Output], arrived_s: float) -> Outlet[Output]:
        def later(action: Callable[[], None]) -> None:
            self._post(partial(self._tell, session, lambda _: action()))

        return Outlet(sink=sink, arrived_s=arrived_s, clock=self._clock, load=self.load, later=later)

    def _tell(self, session: str, action: Callable[[Reply[Input]], None]) -> None:
        """Do something within a turn, if it is still open, and see what has become of it."""
        turn = self._turns.get(session)
        if turn is not None:
            with turn.guard:
                action(turn.reply)
                self._settle(turn)

    def _settle(self, turn: _Turn[Input, Output]) -> None:
        """After anything that may have ended a turn or told its size."""
        if turn.reply.ended:
            self._end(turn.session)
        elif not turn.has_asked and (size := turn.reply.size()) is not None:
            turn.has_asked = True
            self._scheduler.join(
                Ticket(
                    session=turn.session,
                    size=size,
                    due_s=turn.arrived_s + turn.reply.due_s,
                    arrived_s=turn.arrived_s,
                    prefix=turn.reply.prefix,
                )
            )

    def _end(self, session: str, failure: StageFailure | None = None) -> None:
        turn = self._turns.pop(session, None)
        if turn is None:
            return
        forgotten = self._scheduler.leave(session)
        self._unlearned.discard(session)
        seat = self._seats.pop(session, None)
        if seat is not None:
            self._lineup = None
            self._cache.release(seat.number)
            with _Contained():
                if failure is not None:  # a turn that was cancelled may have had NaNs coming
                    self._cache.wipe(forgotten)
        with _Contained():
            turn.reply.close()
        _close(turn.sink, failure)

    def _end_each(self, sessions: Sequence[str], failure: StageFailure) -> None:
        for session in sessions:
            self._end(session, failure)

    def _end_all(self, failure: StageFailure) -> None:
        with self._wake:
            self._stopping = True
        try:
            self._read_inbox()  # what came too late is opened only to be closed
        finally:
            self._end_each(list(self._turns), failure)
            self._stage.close()


_GONE: Final = StageFailure(type="cancelled", message="the turn was cancelled")
_SHUT_DOWN: Final = StageFailure(type="cancelled", message="the stage is shutting down")
_OVERLOADED: Final = StageFailure(
    type="overloaded", message="no place became free for this turn in time; try again later"
)
_INTERNAL: Final = StageFailure(
    type="internal", message="the stage failed on this turn; its log has the details"
)


class _Contained:
    """Keep a failure to the turns that it concerns.

    A class, since a turn enters it several times a step, and generators cost three times as much.
    """

    __slots__ = ("_fail",)

    def __init__(self, fail: Callable[[StageFailure], None] = lambda _: None) -> None:
        self._fail = fail

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.contain(error)
        return True

    def contain(self, error: Exception) -> None:
        if isinstance(error, StageError):
            self._fail(error.failure)
        else:
            _log.error("turn_failed", exc_info=error)
            self._fail(_INTERNAL)


class _Within(_Contained):
    """The same for what may touch the device: its loss is contained by nobody."""

    __slots__ = ()

    def contain(self, error: Exception) -> None:
        if isinstance(error, torch.AcceleratorError):
            raise DeviceLost(str(error)) from error
        super().contain(error)


def _close(sink: Sink[Output], failure: StageFailure | None) -> None:
    """Close a sink whose host may itself be failing."""
    with _Contained():
        sink.close(failure)


def _read_limits(settings: StageSettings) -> Limits:
    return Limits(
        max_turns=settings.max_turns,
        queue_turns=settings.queue_turns,
        queue_s=settings.queue_s,
        chunk_tokens=settings.chunk_tokens,
    )
