"""One turn as a state machine without I/O: the one place that knows the order thinker -> talker -> code2wav.

`turns` drives it: it hands over what happened (`receive`) and carries out what is wanted (`outgoing`). The
talker is opened with the first states, code2wav beside it so that it is warm when the first codes come; a
turn of text touches neither. Nothing here knows gRPC, HTTP or the time.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal, assert_never

from tercet_wire.messages import TokenLogprob, Turn, Usage
from tercet_wire.names import Stage, Tensor

from tercet_gateway.errors import GatewayError, internal_error, timeout_error, unavailable_error
from tercet_gateway.stages.blobs import Blob, Tensors, array_blob, flag_blob, json_blob, text_blob
from tercet_gateway.stages.messages import Code2WavMessage, StageMessage, TalkerMessage, ThinkerMessage

FinishReason = Literal["stop", "length"]

# --- what happens to a turn --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StageEnded:
    """The stage's stream is complete."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class StageFailed:
    stage: Stage
    error: GatewayError


@dataclass(frozen=True, slots=True)
class TimedOut:
    phase: Literal["first_message", "idle", "total"]


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """`gone`: it closed the connection. `slow`: it was given up, as it takes less sound than is made."""

    why: Literal["gone", "slow"]


@dataclass(frozen=True, slots=True)
class ShutDown:
    """The gateway stops, and has waited for its turns as long as it may."""


Event = StageMessage | StageEnded | StageFailed | TimedOut | ClientLeft | ShutDown

# --- what the turn wants done ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenStage:
    """Open a stream to the stage; the tensors are its first request."""

    stage: Stage
    tensors: Tensors


@dataclass(frozen=True, slots=True)
class FeedStage:
    stage: Stage
    tensors: Tensors


@dataclass(frozen=True, slots=True)
class CancelStage:
    stage: Stage


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text for the client: the reply, or the transcript of a spoken one."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class PcmDelta:
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    finish_reason: FinishReason
    usage: Usage


@dataclass(frozen=True, slots=True)
class Failed:
    error: GatewayError


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The client left; nobody is there to be told anything."""

    why: Literal["gone", "slow"]


Delta = TextDelta | PcmDelta
Outcome = Finished | Failed | Abandoned
Outgoing = OpenStage | FeedStage | CancelStage | Delta | Outcome


class State(Enum):
    WAITING = "the thinker has not said anything yet"
    WRITING = "the thinker is writing the reply"
    SPEAKING = "the text is complete, talker or code2wav go on"
    FINISHED = "the reply is complete"
    FAILED = "the turn ended early"
    ABANDONED = "the client left"


_OVER = frozenset({State.FINISHED, State.FAILED, State.ABANDONED})


class Conductor:
    """`turn` is the whole request; talker and code2wav get it without its messages."""

    def __init__(self, session: str, turn: Turn, *, pixels: bytes = b"", samples: bytes = b"") -> None:
        self.state = State.WAITING
        self._session = text_blob(session)
        self._turn = turn
        self._running: set[Stage] = set()
        self._complete: set[Stage] = set()
        self._finish_reason: FinishReason | None = None
        self._usage = Usage()
        self._codes = 0
        self._outgoing: list[Outgoing] = []
        media = {}
        if pixels:
            media[Tensor.PIXELS] = array_blob("UINT8", 1, pixels)
        if samples:
            media[Tensor.SAMPLES] = array_blob("FP32", 4, samples)
        self._open(Stage.THINKER, {Tensor.TURN: json_blob(turn), **media})

    @property
    def is_over(self) -> bool:
        return self.state in _OVER

    def receive(self, event: Event) -> None:
        """Take in one event; what comes after the end of the turn is dropped."""
        if self.is_over:
            return
        match event:
            case ThinkerMessage():
                self._hear_thinker(event)
            case TalkerMessage():
                self._hear_talker(event)
            case Code2WavMessage():
                self._hear_code2wav(event)
            case StageEnded():
                self._end_stage(event.stage)
            case StageFailed():
                self._fail(event.error)
            case TimedOut():
                self._fail(timeout_error(f"{event.phase} timeout with {sorted(self._running)} running"))
            case ClientLeft():
                self._close(State.ABANDONED, Abandoned(event.why))
            case ShutDown():
                self._fail(unavailable_error("the gateway is shutting down"))
            case _:
                assert_never(event)

    def outgoing(self) -> list[Outgoing]:
        """What is to be done now, in order; each thing is handed out once."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    # --- the three stages ----------------------------------------------------------------------

    def _hear_thinker(self, message: ThinkerMessage) -> None:
        self.state = State.WRITING
        event = message.event
        if message.text or event.logprobs:
            self._outgoing.append(TextDelta(message.text, event.logprobs))
        if event.usage is not None:
            self._usage = event.usage
        if event.finish_reason is not None:
            self._finish_reason = event.finish_reason
        if self._turn.speech is None:
            self._mark_complete(Stage.THINKER, event.finish_reason is not None)
        else:
            self._pass_states_on(message)
            self._mark_complete(Stage.THINKER, message.last)

    def _pass_states_on(self, message: ThinkerMessage) -> None:
        tensors: dict[Tensor, Blob] = {}
        if message.states.data:
            tensors[Tensor.STATES] = message.states
        if message.positions.data:
            tensors[Tensor.POSITIONS] = message.positions
        if Stage.TALKER not in self._running | self._complete:
            if tensors:
                self._open_speech({**tensors, Tensor.LAST: flag_blob(message.last)})
        elif tensors or message.last:
            self._feed(Stage.TALKER, {**tensors, Tensor.LAST: flag_blob(message.last)})

    def _open_speech(self, tensors: Tensors) -> None:
        turn = json_blob(self._turn.model_copy(update={"messages": ()}))
        self._open(Stage.TALKER, {Tensor.TURN: turn, **tensors})
        self._open(Stage.CODE2WAV, {Tensor.TURN: turn})

    def _hear_talker(self, message: TalkerMessage) -> None:
        if message.event.usage is not None:
            self._codes = message.event.usage.codes
        tensors = {Tensor.CODES: message.codes} if message.codes.data else {}
        if tensors or message.last:
            self._feed(Stage.CODE2WAV, {**tensors, Tensor.LAST: flag_blob(message.last)})
        self._mark_complete(Stage.TALKER, message.last)

    def _hear_code2wav(self, message: Code2WavMessage) -> None:
        if message.pcm:
            self._outgoing.append(PcmDelta(message.pcm))
        self._mark_complete(Stage.CODE2WAV, message.last)

    # --- beginnings and ends -------------------------------------------------------------------

    def _open(self, stage: Stage, tensors: Tensors) -> None:
        self._running.add(stage)
        self._outgoing.append(OpenStage(stage, {Tensor.SESSION: self._session, **tensors}))

    def _feed(self, stage: Stage, tensors: Tensors) -> None:
        """A stage that has said its last needs no more input."""
        if stage in self._running - self._complete:
            self._outgoing.append(FeedStage(stage, {Tensor.SESSION: self._session, **tensors}))

    def _mark_complete(self, stage: Stage, complete: bool) -> None:
        if complete:
            self._complete.add(stage)

    def _end_stage(self, stage: Stage) -> None:
        self._running.discard(stage)
        if stage not in self._complete:
            # A reply that stops short must never look like a whole one.
            self._fail(internal_error(f"{stage} ended before it was complete"))
        elif self._running:
            self.state = State.SPEAKING if stage is Stage.THINKER else self.state
        elif self._finish_reason is None:
            self._fail(internal_error("the thinker gave no finish reason"))
        else:
            usage = self._usage.model_copy(update={"codes": self._codes})
            self._close(State.FINISHED, Finished(self._finish_reason, usage))

    def _fail(self, error: GatewayError) -> None:
        self._close(State.FAILED, Failed(error))

    def _close(self, state: State, outcome: Outcome) -> None:
        self._outgoing.extend(CancelStage(stage) for stage in Stage if stage in self._running)
        self._running.clear()
        self._outgoing.append(outcome)
        self.state = state
