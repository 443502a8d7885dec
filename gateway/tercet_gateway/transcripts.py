"""What earlier spoken replies said, so that a later request may name one by its audio id.

A store in this process, bounded in time (the `expires_at` that the caller was told) and in number (the
oldest go first). The chat route fills it; `conversation` asks it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

KEPT_S: Final = 3600
_REPLIES: Final = 4096


class Transcripts:
    """`clock` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._replies: OrderedDict[str, tuple[int, str]] = OrderedDict()

    def remember(self, audio_id: str, transcript: str, *, expires_at: int) -> None:
        self._replies[audio_id] = (expires_at, transcript)
        while len(self._replies) > _REPLIES:
            self._replies.popitem(last=False)

    def recall(self, audio_id: str) -> str | None:
        expires_at, transcript = self._replies.get(audio_id, (0, ""))
        return transcript if self._clock() < expires_at else None
