"""How many rows of a long prompt a step takes beside turns that are decoding. Pure: times are arguments.

Used by the step loop. It learns what a step costs without a prompt and what each prompt row adds, and keeps
steps that have both within `STRETCH` of those that have not. Prompts that fit into one chunk are not paced:
one longer step is not felt, and the first sound of the turn would wait.
"""

from typing import Final

STRETCH: Final = 1.35
"""Longest step with a part of a long prompt, as a multiple of one without: p95 is to stay within 1.5."""
FEWEST_ROWS: Final = 8
"""Of a prompt in a step, so that it comes to an end however slow the device is."""
_WEIGHT: Final = 0.2
"""Of the newest step in the averages."""


class Pace:
    def __init__(self) -> None:
        self._plain_s: float | None = None
        self._row_s: float | None = None

    def note(self, *, singles: int, prompt_rows: int, took_s: float) -> None:
        """A step of `singles` decoding turns and `prompt_rows` rows of prompts is over."""
        if not singles:
            return
        if not prompt_rows:
            self._plain_s = _average(self._plain_s, took_s)
        elif self._plain_s is not None:
            self._row_s = _average(self._row_s, max(took_s - self._plain_s, 0.0) / prompt_rows)

    def rows(self, *, singles: int, most: int) -> int:
        """Prompt rows that the next step may take, if its prompts are longer than that."""
        if not singles or self._plain_s is None:
            return most
        if not self._row_s:
            return min(most, FEWEST_ROWS)
        return min(most, max(FEWEST_ROWS, int((STRETCH - 1) * self._plain_s / self._row_s)))


def _average(known: float | None, newest: float) -> float:
    return newest if known is None else known + _WEIGHT * (newest - known)
