"""One stage inside Triton's Python backend: requests in, turns of the stage out.

Each adapter in `model_repo/` makes one host. A request with a TURN opens a turn, and its response sender
stays open until the stage closes the sink; a later request of the same SESSION feeds the turn, or cancels
it, and is answered at once. TEXT goes on through the request it came with, so that an ensemble's text does
not wait for the sound.
"""

import gc
import os
import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

import triton_python_backend_utils as pb_utils
from pydantic import ValidationError
from tercet_engine.stage import StageEngine, StageError
from tercet_wire.messages import StageFailure, Turn
from tercet_wire.names import DEFAULT_SETTINGS_DIR, SETTINGS_DIR_VARIABLE, Stage, Tensor
from tercet_wire.settings import StageSettings

from tercet_host.outbox import Outbox
from tercet_host.precedence import give_way
from tercet_host.response_sink import Envelope, Render, ResponseSink
from tercet_host.tensors import Inputs, TritonRequest
from tercet_host.turn_gauge import TurnGauge
from tercet_host.watchdog import Watchdog

Input = TypeVar("Input")
Output = TypeVar("Output")


def begin_stage(stage: Stage) -> StageSettings:
    """To be called before the stage has threads of its own."""
    give_way(stage)
    folder = Path(os.environ.get(SETTINGS_DIR_VARIABLE, DEFAULT_SETTINGS_DIR))
    return StageSettings.model_validate_json((folder / f"{stage}.json").read_text())


class StageHost(Generic[Input, Output]):
    """Routes the requests of one Triton model to its stage.

    `passing` is the output that carries text through a stage which has nothing to say to it; only the
    stages after the thinker have one, and only those have nothing to do in a turn without speech.
    `watchdog` is told that the stage is loaded; who has one has the process to itself.
    """

    def __init__(
        self,
        engine: StageEngine[Input, Output],
        *,
        stage: Stage,
        parse: Callable[[Inputs, Turn | None], Input],
        render: Render[Output],
        passing: Output | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._engine = engine
        self._parse = parse
        self._render = render
        self._passing = passing
        self._outbox = Outbox()
        self._gauge = TurnGauge(stage)
        self._watchdog = watchdog
        if watchdog is not None:
            threading.excepthook = _end_process
            gc.collect()
            gc.freeze()  # what was loaded lives for ever; to look through it again halts all turns for 0.3 s
            watchdog.tell_loaded()

    def execute(self, requests: Iterable[TritonRequest]) -> None:
        """Never raises: an exception that leaves the model's `execute` leaks the request's memory."""
        for request in requests:
            sink = ResponseSink(request.get_response_sender(), render=self._render, outbox=self._outbox)
            try:
                self._answer(Inputs(request), sink)
            except StageError as error:
                sink.close(error.failure)
            except ValidationError as error:
                sink.close(StageFailure(type="invalid_request", message=f"TURN cannot be read: {error}"))
            except Exception as error:  # noqa: BLE001  # the edge to Triton, which answers nothing itself
                pb_utils.Logger.log_error(traceback.format_exc())
                sink.close(
                    StageFailure(type="internal", message=f"{type(error).__name__} in the stage's host")
                )

    def shutdown(self) -> None:
        if self._watchdog is not None:
            self._watchdog.dismiss()
        self._engine.shutdown()
        self._outbox.close()

    def _answer(self, inputs: Inputs, sink: ResponseSink[Output]) -> None:
        session = inputs.text(Tensor.SESSION)
        if not session:
            raise StageError(
                StageFailure(type="invalid_request", message="SESSION is empty: give each turn an id")
            )
        if inputs.flag(Tensor.CANCEL):
            self._engine.cancel(session)
            sink.close()
        elif document := inputs.text(Tensor.TURN):
            self._open(session, Turn.model_validate_json(document), inputs, sink)
        else:
            self._pass_text(sink, Envelope(session=session, text=inputs.text(Tensor.TEXT)))
            self._engine.feed(session, self._parse(inputs, None))
            sink.close()

    def _open(self, session: str, turn: Turn, inputs: Inputs, sink: ResponseSink[Output]) -> None:
        onward = turn.model_copy(update={"messages": ()}).model_dump_json()
        self._pass_text(sink, Envelope(session=session, turn=onward, text=inputs.text(Tensor.TEXT)))
        if turn.speech is None and self._passing is not None:
            sink.close()
        else:
            sink.count(self._gauge)
            self._engine.open(session, self._parse(inputs, turn), sink)

    def _pass_text(self, sink: ResponseSink[Output], envelope: Envelope) -> None:
        sink.address(envelope)
        if envelope.text and self._passing is not None:
            sink.send(self._passing)


def _end_process(last: threading.ExceptHookArgs) -> None:
    """A stage whose thread has died answers nothing any more: the watchdog then ends its server."""
    words = traceback.format_exception(last.exc_type, last.exc_value, last.exc_traceback)
    pb_utils.Logger.log_error("".join(words))
    os._exit(os.EX_SOFTWARE)
