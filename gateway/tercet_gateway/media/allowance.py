"""What all media of one request together may still bring, shared by its parts.

Made by `reader` for each request; used on the event loop only, never in a worker thread.
"""

from tercet_gateway.media.refusals import too_large


class Allowance:
    def __init__(self, limit: float, unit: str) -> None:
        self._limit = limit
        self._unit = unit
        self.left = limit

    def take(self, amount: float) -> None:
        self.left -= amount
        if self.left < 0:
            raise too_large(f"All media of a request together may have at most {self._limit:g} {self._unit}.")
