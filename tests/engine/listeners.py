"""A sink that keeps what it hears, for tests that host a stage."""

import threading
from typing import Generic, TypeVar

from tercet_wire.messages import StageFailure

WAIT_S = 120

Output = TypeVar("Output")


class Listener(Generic[Output]):
    """Holds to the sink's contract: sent nothing after its end, closed once."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self.has_gone = False
        self.heard = threading.Event()
        self._closed = threading.Event()
        self._closings: list[StageFailure | None] = []

    def send(self, output: Output) -> None:
        assert not self._closings
        self.outputs.append(output)
        self.heard.set()

    def close(self, failure: StageFailure | None = None) -> None:
        self._closings.append(failure)
        self._closed.set()

    def is_cancelled(self) -> bool:
        return self.has_gone

    def end(self) -> StageFailure | None:
        """Waits for the turn's end; None if it ended well."""
        assert self._closed.wait(WAIT_S)
        (failure,) = self._closings
        return failure

    def end_type(self) -> str:
        failure = self.end()
        return "ended well" if failure is None else failure.type
