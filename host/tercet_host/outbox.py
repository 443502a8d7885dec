"""The thread that talks to Triton, so that no stage's step waits for it.

A response costs 0.3 to 1 ms of waiting for the server. Made once by `stage_host`; the sinks put their work
in, and it is done in order. The queue has no bound of its own: it holds at most what the running turns
have made and Triton has not yet taken, which the stage's own limits on turns and tokens bound.
"""

import queue
import threading
import traceback
from collections.abc import Callable

import triton_python_backend_utils as pb_utils

CLOSE_S = 5.0
"""How long `close` waits for what is still to be sent."""


class Outbox:
    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tercet-outbox", daemon=True)
        self._thread.start()

    def put(self, work: Callable[[], None]) -> None:
        self._work.put(work)

    def close(self) -> None:
        """Send what is waiting, then end the thread; nothing may be put afterwards."""
        self._work.put(None)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception:  # noqa: BLE001  # one turn's fault must not end the others' answers
                pb_utils.Logger.log_error(traceback.format_exc())
