"""One stage on several devices: a new turn goes to the device with the fewest open turns and stays there.

Used by the stages' `load_*`; its parts are whole StageEngines, one per device, and it is one itself. It
counts the turns it has given out and not what the parts report, which lags behind.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from tercet_wire.messages import Load, StageFailure
from tercet_wire.settings import StageSettings

from tercet_engine.stage import Sink, StageEngine
from tercet_engine.threads import use_threads

Input = TypeVar("Input")
Output = TypeVar("Output")


def load_each(
    settings: StageSettings, load: Callable[[str], StageEngine[Input, Output]]
) -> StageEngine[Input, Output]:
    """A part for each of the settings' devices, spread.

    Loaded on a thread that ends here: OpenMP keeps a team of workers for each thread that ever used it, and
    once there are more than cores, all let go of the processor between two products. That halves a step's
    speed.
    """
    threads = ThreadPoolExecutor(1, initializer=use_threads, initargs=(settings.threads,))
    with threads as loader:
        return spread(list(loader.map(load, settings.devices)))


def spread(parts: Sequence[StageEngine[Input, Output]]) -> StageEngine[Input, Output]:
    """The parts as one engine; a single part is that engine already."""
    return parts[0] if len(parts) == 1 else Spread(parts)


class Spread(Generic[Input, Output]):
    def __init__(self, parts: Sequence[StageEngine[Input, Output]]) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._homes: dict[str, int] = {}
        self._open = [0] * len(parts)

    def open(self, session: str, first: Input, sink: Sink[Output]) -> None:
        with self._lock:
            is_new = session not in self._homes
            if is_new:
                home = self._open.index(min(self._open))
                self._homes[session] = home
                self._open[home] += 1
        if is_new:
            self._parts[home].open(session, first, _Counted(self, session, sink))
        else:
            failure = f"session {session} is already open"
            sink.close(StageFailure(type="invalid_request", message=failure))

    def feed(self, session: str, more: Input) -> None:
        home = self._homes.get(session)
        if home is not None:
            self._parts[home].feed(session, more)

    def cancel(self, session: str) -> None:
        home = self._homes.get(session)
        if home is not None:
            self._parts[home].cancel(session)

    def load(self) -> Load:
        loads = [part.load() for part in self._parts]
        return Load(
            turns=sum(load.turns for load in loads),
            waiting=sum(load.waiting for load in loads),
            kv_used=sum(load.kv_used for load in loads) / len(loads),
            lateness_s=max(load.lateness_s for load in loads),
        )

    def shutdown(self) -> None:
        for part in self._parts:
            part.shutdown()

    def forget(self, session: str) -> None:
        """The turn has ended; its name may be used again."""
        with self._lock:
            self._open[self._homes.pop(session)] -= 1


class _Counted(Generic[Output]):
    """A turn's sink, which tells when it has ended."""

    def __init__(self, spread: Spread[Input, Output], session: str, sink: Sink[Output]) -> None:
        self._spread = spread
        self._session = session
        self._sink = sink

    def send(self, output: Output) -> None:
        self._sink.send(output)

    def close(self, failure: StageFailure | None = None) -> None:
        self._spread.forget(self._session)
        self._sink.close(failure)

    def is_cancelled(self) -> bool:
        return self._sink.is_cancelled()
