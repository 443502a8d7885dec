"""What one stage has said in a turn, so that what it says again after a rewind is passed over. Pure.

`stage_run` holds one for each stage. A replica that is given the same requests says the same, but its
messages may end elsewhere: so what comes is counted, not compared message by message. Text and codes must
come again just as they were; states and sound may differ in their last bit and are only counted.
"""

from dataclasses import replace
from typing import Final

from tercet_wire.names import Stage

from tercet_gateway.stages.blobs import Blob
from tercet_gateway.stages.messages import Code2WavMessage, StageMessage, TalkerMessage, ThinkerMessage

_INT32_BYTES: Final = 4


class Diverged(Exception):  # noqa: N818 - what the replica did
    """The stage says something else than the first time."""


class Heard:
    """`take` each message: it comes back without what was heard before. `rewind`: all is said anew."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._words = _Script()  # text in UTF-8, or codes
        self._rows = _Count()
        self._columns = _Count()
        self._logprobs = _Count()
        self._pcm = _Count()
        self._parts = (self._words, self._rows, self._columns, self._logprobs, self._pcm)
        self.has_begun = False
        self.is_complete = False
        """Its last message has come; only the end of its stream may be missing."""

    @property
    def is_behind(self) -> bool:
        """Not all that was heard has come again."""
        return any(part.is_behind for part in self._parts)

    def rewind(self) -> None:
        for part in self._parts:
            part.rewind()

    def take(self, message: StageMessage) -> StageMessage:
        """Raises Diverged."""
        fresh = self._trim(message)
        if message.last and self.is_behind:
            raise Diverged(f"{self._stage} ends sooner than the first time")
        self.has_begun = True
        self.is_complete = message.last and (
            self._stage is not Stage.THINKER or message.event.finish_reason is not None
        )
        return fresh

    def _trim(self, message: StageMessage) -> StageMessage:
        match message:
            case ThinkerMessage():
                return self._trim_thought(message)
            case TalkerMessage():
                return replace(message, codes=self._trim_codes(message.codes))
            case Code2WavMessage():
                return replace(message, pcm=message.pcm[self._pcm.take(len(message.pcm)) :])

    def _trim_thought(self, message: ThinkerMessage) -> ThinkerMessage:
        logprobs = message.event.logprobs
        known = self._logprobs.take(len(logprobs))
        return replace(
            message,
            text=self._words.take(message.text.encode()).decode(),
            states=_drop_rows(message.states, self._rows.take(message.states.shape[0])),
            positions=_drop_columns(message.positions, self._columns.take(message.positions.shape[1])),
            event=message.event.model_copy(update={"logprobs": logprobs[known:]}) if known else message.event,
        )

    def _trim_codes(self, codes: Blob) -> Blob:
        fresh = self._words.take(codes.data)
        return replace(codes, shape=(len(fresh) // _INT32_BYTES,), data=fresh)


class _Count:
    """Of things that come again without being looked at."""

    def __init__(self) -> None:
        self._known = 0
        self._at = 0

    @property
    def is_behind(self) -> bool:
        return self._at < self._known

    def rewind(self) -> None:
        self._at = 0

    def take(self, count: int) -> int:
        """How many of the next `count` are known."""
        known = min(count, self._known - self._at)
        self._at += count
        self._known = max(self._known, self._at)
        return known


class _Script:
    """Bytes that must come again as they were."""

    def __init__(self) -> None:
        self._known = bytearray()
        self._at = 0

    @property
    def is_behind(self) -> bool:
        return self._at < len(self._known)

    def rewind(self) -> None:
        self._at = 0

    def take(self, data: bytes) -> bytes:
        """What of `data` is new."""
        known = self._known[self._at : self._at + len(data)]
        if not data.startswith(known):
            raise Diverged(f"byte {self._at} and what follows differ")
        fresh = data[len(known) :]
        self._known += fresh
        self._at += len(data)
        return fresh


def _drop_rows(blob: Blob, count: int) -> Blob:
    """(rows, bytes) without its first rows."""
    if not count:
        return blob
    rows, *rest = blob.shape
    width = len(blob.data) // rows
    return replace(blob, shape=(rows - count, *rest), data=blob.data[count * width :])


def _drop_columns(blob: Blob, count: int) -> Blob:
    """(3, k) without its first columns."""
    if not count:
        return blob
    rows, columns = blob.shape
    width = columns * _INT32_BYTES
    starts = [row * width + count * _INT32_BYTES for row in range(rows)]
    data = b"".join(blob.data[start : (row + 1) * width] for row, start in enumerate(starts))
    return replace(blob, shape=(rows, columns - count), data=data)
