"""How many turns this process carries at once; the rest are told when to come again.

The chat route enters `admit` before it reads a body, so that memory is bounded too.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tercet_gateway.errors import ServiceError
from tercet_gateway.settings import Limits


class Admission:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.in_flight = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        if self.in_flight >= self._limits.turns:
            raise ServiceError(
                "This server is carrying as many requests as it can. Try again shortly.",
                status=503,
                code="overloaded",
                retry_after_s=self._limits.retry_after_s,
            )
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
