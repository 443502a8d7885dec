"""How many turns this process carries at once, and how many bytes of bodies; the rest are told to come again.

The chat route holds a body's bytes from the first to the moment its media are read, and a turn's place from
the end of the body on: who sends slowly takes no place from others.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tercet_gateway.errors import ServiceError
from tercet_gateway.settings import Limits


class Admission:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.in_flight = 0
        self.held_bytes = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        self.check_place()
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def check_place(self) -> None:
        """Before a body is read, so that it need not be sent in vain."""
        if self.in_flight >= self._limits.turns:
            raise self._busy()

    @contextmanager
    def hold_body(self) -> Iterator[Callable[[int], None]]:
        """Gives what is to be called with the size of each part; all count until the block is left."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if self.held_bytes + size > self._limits.bodies_bytes:
                raise self._busy()
            self.held_bytes += size
            held += size

        try:
            yield hold
        finally:
            self.held_bytes -= held

    def _busy(self) -> ServiceError:
        return ServiceError(
            "This server is carrying as many requests as it can. Try again shortly.",
            status=503,
            code="overloaded",
            retry_after_s=self._limits.retry_after_s,
        )
