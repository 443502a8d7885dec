"""The code2wav stage: a thread per device that turns the codes of many turns into sound.

Hosts open it with `load_code2wav` and drive it as a StageEngine; its methods only put work into the inbox.
Each step decodes the windows that are nearest to their deadlines, as one batch. A turn that fails ends
alone; every turn leaves through `_end`, so that its sink is closed once and its memory goes with it.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

import torch
from tercet_wire.messages import FailureType, Load, StageEvent, StageFailure, Usage
from tercet_wire.settings import StageSettings

from tercet_engine.checkpoint import open_checkpoint
from tercet_engine.code2wav.admission import StepCost, can_join
from tercet_engine.code2wav.deadlines import BatchLimits, Candidate, choose_batch
from tercet_engine.code2wav.model import SpeechModel, load_model
from tercet_engine.code2wav.noise import NoiseSource
from tercet_engine.code2wav.rehearsal import rehearse
from tercet_engine.code2wav.steps import Job, Made, run_step
from tercet_engine.code2wav.turn import SpeechTurn
from tercet_engine.device import ending_if_lost
from tercet_engine.lookout import WATCH_S, Lookout
from tercet_engine.spread import load_each
from tercet_engine.stage import Code2WavInput, Code2WavOutput, Sink, StageEngine, StageError
from tercet_engine.threads import use_threads

CPU_LIMITS: Final = BatchLimits(in_time=2, late=8)
"""Two cores make 1.0 s of sound a second in steps of two single blocks, 1.6 s in steps of eight."""
GPU_LIMITS: Final = BatchLimits(in_time=16, late=32)
"""Not measured."""
IDLE_S: Final = 1.0
SHUTDOWN_S: Final = 10.0

_log = logging.getLogger(__name__)


def load_code2wav(settings: StageSettings) -> StageEngine[Code2WavInput, Code2WavOutput]:
    checkpoint = open_checkpoint(settings.checkpoint)

    def load(name: str) -> Code2Wav:
        device = torch.device(name)
        model = load_model(checkpoint, settings, device)
        cost = rehearse(model, settings.window, _find_limits(device).in_time)
        return Code2Wav(model, settings, cost)

    return load_each(settings, load)


def _find_limits(device: torch.device) -> BatchLimits:
    return CPU_LIMITS if device.type == "cpu" else GPU_LIMITS


class Code2Wav:
    """A StageEngine on one device. `model` is used by its thread alone."""

    def __init__(
        self,
        model: SpeechModel,
        settings: StageSettings,
        cost: StepCost | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`cost`: what is known of steps already."""
        self._model = model
        self._settings = settings
        self._clock = clock
        self._limits = _find_limits(model.dit.device)
        self._cost = cost or StepCost()
        self._active: dict[str, SpeechTurn] = {}
        self._waiting: dict[str, SpeechTurn] = {}  # in order of arrival
        self._lookout = Lookout()
        self._load = Load()
        self._inbox: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="code2wav-steps", daemon=True)
        self._thread.start()

    # --- from any thread -----------------------------------------------------------------------

    def open(self, session: str, first: Code2WavInput, sink: Sink[Code2WavOutput]) -> None:
        if not self._post(partial(self._open, session, first, sink, self._clock())):
            sink.close(_failure("cancelled", "the stage is shutting down"))

    def feed(self, session: str, more: Code2WavInput) -> None:
        self._post(partial(self._feed, session, more))

    def cancel(self, session: str) -> None:
        self._post(partial(self._cancel, session))

    def load(self) -> Load:
        return self._load

    def shutdown(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(SHUTDOWN_S)

    def _post(self, action: Callable[[], None]) -> bool:
        with self._wake:
            if self._stopping:
                return False
            self._inbox.append(action)
            self._wake.notify()
            return True

    # --- the loop ------------------------------------------------------------------------------

    def _run(self) -> None:
        use_threads(self._settings.threads)
        try:
            while not self._stopping:
                self._read_inbox()
                self._drop_gone()
                self._admit()
                jobs = self._choose()
                if jobs:
                    self._step(jobs)
                else:
                    self._rest()
        finally:
            self._end_all()

    def _read_inbox(self) -> None:
        with self._wake:
            actions = list(self._inbox)
            self._inbox.clear()
        for action in actions:
            action()

    def _drop_gone(self) -> None:
        for session in self._lookout.choose([turn.session for turn in self._turns()]):
            turn = self._find(session)
            if turn is not None:
                with _contained(partial(self._end, turn)):
                    if turn.sink.is_cancelled():
                        self._cancel(session)

    def _admit(self) -> None:
        """Fill free places, first come first served, then refuse those who waited too long."""
        while self._waiting and self._has_place():
            session = next(iter(self._waiting))
            turn = self._active[session] = self._waiting.pop(session)
            turn.take_place(self._clock())
        latest = self._clock() - self._settings.queue_s
        for turn in list(self._waiting.values()):
            if turn.arrived_at < latest:
                self._end(turn, _overloaded())

    def _has_place(self) -> bool:
        """None for a turn that would make the others' listeners wait."""
        turns = len(self._active)
        return turns < self._settings.max_turns and can_join(
            self._cost, turns=turns, most_blocks=self._limits.in_time, max_load=self._settings.max_load
        )

    def _choose(self) -> list[Job]:
        now = self._clock()
        jobs = [
            Job(turn=turn, window=window) for turn in self._active.values() if (window := turn.next_window())
        ]
        self._measure([now - job.turn.due_at for job in jobs])
        candidates = [Candidate(due_at=job.turn.due_at, blocks=job.window.blocks) for job in jobs]
        return [jobs[index] for index in choose_batch(candidates, now=now, limits=self._limits)]

    def _rest(self) -> None:
        with self._wake:
            if not self._inbox and not self._stopping:
                self._wake.wait(WATCH_S if self._turns() else IDLE_S)

    def _measure(self, lateness_s: Sequence[float]) -> None:
        late = max(0.0, *lateness_s) if lateness_s else 0.0
        self._load = Load(turns=len(self._active), waiting=len(self._waiting), lateness_s=late)

    # --- one step ------------------------------------------------------------------------------

    def _step(self, jobs: Sequence[Job]) -> None:
        with _contained(partial(self._retry, jobs)):
            began_at = self._clock()
            with ending_if_lost():
                made = run_step(self._model, jobs)
            self._cost.observe(sum(job.window.blocks for job in jobs), self._clock() - began_at)
            self._finish(jobs, made)

    def _retry(self, jobs: Sequence[Job], failure: StageFailure) -> None:
        """Each alone, so that only the culprit ends."""
        if len(jobs) == 1:
            self._end(jobs[0].turn, failure)
            return
        for job in jobs:
            self._step([job])

    def _finish(self, jobs: Sequence[Job], made: Sequence[Made]) -> None:
        self._measure([self._clock() - job.turn.due_at for job in jobs])
        for job, result in zip(jobs, made, strict=True):
            with _contained(partial(self._end, job.turn)):
                self._deliver(job, result)

    def _deliver(self, job: Job, made: Made) -> None:
        turn, last = job.turn, job.window.last
        pcm = turn.commit(job.window, made.decoded, made.rendered)
        event = StageEvent(
            load=self._load,
            finish_reason="stop" if last else None,
            usage=Usage(codes=len(turn.codes)) if last else None,
            elapsed_s=self._clock() - turn.arrived_at,
        )
        if len(pcm) or last:
            turn.sink.send(Code2WavOutput(pcm=pcm, last=last, event=event))
            turn.note_sent(len(pcm), self._clock())
        if last:
            self._end(turn)

    # --- turns come and go ---------------------------------------------------------------------

    def _open(
        self, session: str, first: Code2WavInput, sink: Sink[Code2WavOutput], arrived_at: float
    ) -> None:
        with _contained(sink.close):
            turn = self._build_turn(session, first, sink, arrived_at)
            turn.receive(first.codes, first.last, arrived_at)
            self._waiting[session] = turn

    def _build_turn(
        self, session: str, first: Code2WavInput, sink: Sink[Code2WavOutput], arrived_at: float
    ) -> SpeechTurn:
        speech = first.turn.speech if first.turn else None
        if first.turn is None or speech is None:
            raise StageError(_failure("invalid_request", "code2wav takes only turns with speech"))
        if session in self._active or session in self._waiting:
            raise StageError(_failure("invalid_request", f"session {session!r} is already open"))
        if len(self._turns()) >= self._settings.max_turns + self._settings.queue_turns:
            raise StageError(_overloaded())
        voice = self._model.voices.get(speech.voice)
        if voice is None:
            known = ", ".join(sorted(self._model.voices))
            text = f"unknown voice {speech.voice!r}; this model speaks as {known}"
            raise StageError(_failure("invalid_request", text, param="audio.voice"))
        return SpeechTurn(
            session=session,
            sink=sink,
            voice=voice,
            window=speech.window or self._settings.window,
            noise=NoiseSource(speech.noise_seed, self._model.dit.mel_dim),
            arrived_at=arrived_at,
            due_s=first.turn.due_s,
        )

    def _feed(self, session: str, more: Code2WavInput) -> None:
        turn = self._find(session)
        if turn is not None:
            turn.receive(more.codes, more.last, self._clock())

    def _cancel(self, session: str) -> None:
        turn = self._find(session)
        if turn is not None:
            self._end(turn, _failure("cancelled", "the turn was cancelled"))

    def _end(self, turn: SpeechTurn, failure: StageFailure | None = None) -> None:
        self._active.pop(turn.session, None)
        self._waiting.pop(turn.session, None)
        with _contained():  # its host may itself be failing
            turn.sink.close(failure)

    def _end_all(self) -> None:
        """The inbox too: a turn in it has a sink that waits."""
        with self._wake:
            self._stopping = True
        self._read_inbox()
        for turn in self._turns():
            self._cancel(turn.session)
        self._measure([])

    def _find(self, session: str) -> SpeechTurn | None:
        return self._active.get(session) or self._waiting.get(session)

    def _turns(self) -> list[SpeechTurn]:
        return [*self._active.values(), *self._waiting.values()]


@contextmanager
def _contained(fail: Callable[[StageFailure], None] = lambda _: None) -> Iterator[None]:
    """Keep a failure to the turns that it concerns. The one place that catches every exception."""
    try:
        yield
    except StageError as error:
        fail(error.failure)
    except Exception:  # noqa: BLE001 - the edge that keeps a stage alive
        _log.exception("turn_failed")
        fail(_failure("internal", "code2wav failed on this turn; its log has the details"))


def _overloaded() -> StageFailure:
    return _failure("overloaded", "code2wav has no free place for this turn; try again later")


def _failure(kind: FailureType, message: str, param: str | None = None) -> StageFailure:
    return StageFailure(type=kind, message=message, param=param)
