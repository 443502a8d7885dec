"""A turn's way out: the sink that a stage writes to, over one Triton response sender.

Made by `stage_host` for each request. It keeps the promises Triton needs: the final flag is sent exactly
once whatever fails, a failure travels as the error text that the gateway reads back, and no call waits.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import triton_python_backend_utils as pb_utils
from tercet_wire.messages import StageFailure

from tercet_host.outbox import Outbox
from tercet_host.tensors import TritonTensor
from tercet_host.turn_gauge import TurnGauge

Output = TypeVar("Output")


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a response says beside the stage's output, for the next stage of an ensemble.

    `turn` and `text` stand in a request's first response only: a request with a turn opens one.
    """

    session: str = ""
    turn: str = ""
    text: str = ""


Render = Callable[[Output, Envelope], list[TritonTensor]]


class ResponseSink(Generic[Output]):
    """Implements `tercet_engine.stage.Sink`; the outbox does the sending."""

    def __init__(self, sender: Any, *, render: Render[Output], outbox: Outbox) -> None:
        self._sender = sender
        self._render = render
        self._outbox = outbox
        self._envelope = Envelope()
        self._gauge: TurnGauge | None = None
        self._closing = threading.Lock()
        self._closed = False
        self._unsent = False

    def address(self, envelope: Envelope) -> None:
        """Called before the first `send`."""
        self._envelope = envelope

    def count(self, gauge: TurnGauge) -> None:
        """Called before the stage gets the sink: its turn counts until the last answer is out."""
        self._gauge = gauge
        self._outbox.put(gauge.enter)

    def send(self, output: Output) -> None:
        envelope, self._envelope = self._envelope, Envelope(session=self._envelope.session)
        self._outbox.put(partial(self._deliver, output, envelope))

    def close(self, failure: StageFailure | None = None) -> None:
        if self._close_once():
            self._outbox.put(partial(self._finish, failure))
            if self._gauge is not None:
                self._outbox.put(self._gauge.leave)

    def is_cancelled(self) -> bool:
        return self._unsent or bool(self._sender.is_cancelled())

    def _close_once(self) -> bool:
        with self._closing:
            already, self._closed = self._closed, True
        return not already

    def _deliver(self, output: Output, envelope: Envelope) -> None:
        try:
            tensors = self._render(output, envelope)
            self._sender.send(pb_utils.InferenceResponse(output_tensors=tensors))
        except Exception:
            self._unsent = True  # the stage ends the turn when it next looks at it
            raise

    def _finish(self, failure: StageFailure | None) -> None:
        if self._unsent:
            failure = StageFailure(type="internal", message="an answer of the stage could not be sent")
        if failure is None:
            self._sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            return
        try:
            error = pb_utils.TritonError(failure.model_dump_json())
            response = pb_utils.InferenceResponse(output_tensors=[], error=error)
            self._sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception:  # no shared memory is left, say; without the flag the client would wait for ever
            self._sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            raise
