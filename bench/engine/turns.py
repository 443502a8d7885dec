"""Turns for the stages, and sinks that note what came of them and when."""

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Generic, TypeVar
from uuid import uuid4

from tercet_engine.stage import StageEngine
from tercet_wire.messages import ChatMessage, Sampling, Speech, StageFailure, TextPart, Turn
from tercet_wire.settings import WindowSettings

VOICE: Final = "Chelsie"
WAIT_S: Final = 300.0
_NEVER: Final = -100.0
_TEXT: Final = "Tell me about the sea, the wind and the sky, and what you have seen of them today. "

Output = TypeVar("Output")
_numbers = count()


class TurnError(Exception):
    """A stage ended a turn that should have gone well."""


class Inbox(Generic[Output]):
    """A sink that hands a turn's outputs to the measuring thread, each with its time."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[float, Output | StageFailure | None]] = queue.SimpleQueue()

    def send(self, output: Output) -> None:
        self._queue.put((time.perf_counter(), output))

    def close(self, failure: StageFailure | None = None) -> None:
        self._queue.put((time.perf_counter(), failure))

    def is_cancelled(self) -> bool:
        return False

    def outputs(self) -> Iterator[tuple[float, Output]]:
        """Until the turn ends, each as soon as it is there."""
        while True:
            match self._queue.get(timeout=WAIT_S):
                case _, StageFailure(message=message):
                    raise TurnError(message)
                case _, None:
                    return
                case at_s, output:
                    yield at_s, output


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What must never be chosen, so that a reply has the length that was asked for.

    Empty for random weights, which never choose it by themselves.
    """

    tokens: tuple[int, ...] = ()
    codes: tuple[int, ...] = ()


def build_turn(
    letters: int,
    *,
    tokens: int,
    codes: int | None = None,
    window: WindowSettings | None = None,
    ends: Ends = Ends(),
) -> Turn:
    """A question of `letters` letters, no two alike from their beginning; spoken if `codes` are wanted."""
    text = f"{next(_numbers):06d} {_TEXT * (letters // len(_TEXT) + 1)}"[:letters]
    speech = None
    if codes is not None:
        never = dict.fromkeys(ends.codes, _NEVER)
        speech = Speech(voice=VOICE, window=window, sampling=Sampling(max_tokens=codes, logit_bias=never))
    return Turn(
        messages=(ChatMessage(role="user", content=(TextPart(text=text),)),),
        sampling=Sampling(temperature=0.0, max_tokens=tokens, logit_bias=dict.fromkeys(ends.tokens, _NEVER)),
        speech=speech,
    )


# Any: the inputs and outputs of whichever stage it is.
def time_all(engine: StageEngine[Any, Any], inputs: Sequence[Any]) -> float:
    """Open a turn with each input at once; seconds until all have ended."""
    inboxes: list[Inbox[Any]] = [Inbox() for _ in inputs]
    started = time.perf_counter()
    for given, inbox in zip(inputs, inboxes, strict=True):
        engine.open(uuid4().hex, given, inbox)
    for inbox in inboxes:
        for _ in inbox.outputs():
            pass
    return time.perf_counter() - started


def time_first(
    engine: StageEngine[Any, Any], inputs: Sequence[Any], part: Callable[[Any], Any]
) -> tuple[float, Any]:
    """Open turns at once; seconds until each has sent an output with that part, and one of them.

    The turns are then cancelled.
    """
    inboxes: dict[str, Inbox[Any]] = {uuid4().hex: Inbox() for _ in inputs}
    started = latest = time.perf_counter()
    for given, (session, inbox) in zip(inputs, inboxes.items(), strict=True):
        engine.open(session, given, inbox)
    found: Any = None
    for inbox in inboxes.values():
        at_s, found = next((at_s, found) for at_s, output in inbox.outputs() if (found := part(output)))
        latest = max(latest, at_s)
    for session in inboxes:
        engine.cancel(session)
    return latest - started, found
