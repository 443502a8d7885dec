"""Which turns to ask whether their client has gone: a few at a time, so that it costs the same for many.

Used by the stages' loops, for which it is the only way to learn that a client hung up. To ask may cost a host
half a millisecond.
"""

import time
from collections.abc import Iterable
from typing import Final

WATCH_S: Final = 0.02
_FOR_EACH: Final = 4
"""Turns that are asked for each WATCH_S that has passed: a tenth of the time at most."""


class Lookout:
    def __init__(self) -> None:
        self._rest: list[str] = []
        self._asked_at_s = 0.0

    def choose(self, sessions: Iterable[str]) -> list[str]:
        """Names of turns, of which some may have ended meanwhile; none if it was just called."""
        passed = int((time.monotonic() - self._asked_at_s) / WATCH_S)
        if not passed:
            return []
        self._asked_at_s = time.monotonic()
        rest = self._rest or list(sessions)
        count = _FOR_EACH * passed
        chosen, self._rest = rest[:count], rest[count:]
        return chosen
