"""Which turns to ask whether their client has gone: a few at a time, many times a second.

Used by the stages' loops. A client that leaves in order is told of by `cancel`; this finds the others. To ask
may cost a host half a millisecond, so of many turns each is asked less often.
"""

import time
from collections.abc import Iterable
from typing import Final

WATCH_S: Final = 0.02
_AT_ONCE: Final = 4


class Lookout:
    def __init__(self) -> None:
        self._rest: list[str] = []
        self._next_s = 0.0

    def choose(self, sessions: Iterable[str]) -> list[str]:
        """Names of turns, of which some may have ended meanwhile; mostly none."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return []
        self._next_s = now_s + WATCH_S
        rest = self._rest or list(sessions)
        chosen, self._rest = rest[:_AT_ONCE], rest[_AT_ONCE:]
        return chosen
