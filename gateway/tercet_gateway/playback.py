"""A listener as arithmetic: playing starts with the first sound, and what comes too late is a gap.

The stream shell tells it when sound was handed to the socket; metrics read the result. Time is passed in.
"""


class Player:
    """Plays each piece of sound as soon as it can."""

    def __init__(self) -> None:
        self.audio_s = 0.0
        self.first_at_s: float | None = None
        self.last_at_s = 0.0
        self.underrun_s = 0.0
        """Seconds of silence so far; it equals the worst deficit of a player that does not shift."""
        self.gaps = 0
        self._dry_at_s = 0.0

    def hear(self, at_s: float, audio_s: float) -> None:
        if self.first_at_s is None:
            self.first_at_s = self._dry_at_s = at_s
        if at_s > self._dry_at_s:
            self.underrun_s += at_s - self._dry_at_s
            self.gaps += 1
            self._dry_at_s = at_s
        self._dry_at_s += audio_s
        self.audio_s += audio_s
        self.last_at_s = at_s

    def real_time_factor(self) -> float | None:
        """Seconds of making per second of sound; None before there is sound in two pieces."""
        if self.first_at_s is None or self.last_at_s == self.first_at_s:
            return None
        return (self.last_at_s - self.first_at_s) / self.audio_s
