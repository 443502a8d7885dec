"""How many bytes running turns may keep, so that what a stage was given can be given to another replica.

One for the process. Most turns need some kilobytes, those with long videos tens of megabytes; one that finds
no room goes on without.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tercet_gateway.settings import Limits


class ReplayMemory:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held_bytes = 0

    @contextmanager
    def open_turn(self) -> Iterator[Callable[[int], bool]]:
        """Gives what is to be asked for each piece; all of them count until the block is left."""
        held = 0

        def hold(size: int) -> bool:
            nonlocal held
            if held + size > self._limits.replay_bytes or self.held_bytes + size > self._limits.replays_bytes:
                return False
            self.held_bytes += size
            held += size
            return True

        try:
            yield hold
        finally:
            self.held_bytes -= held
