"""What the three stages say, once the gRPC wrapping is off.

Made by `stages.tensors`, reasoned about by the conductor.
"""

from dataclasses import dataclass

from tercet_wire.messages import StageEvent

from tercet_gateway.stages.blobs import Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkerMessage:
    """`states` (rows, bytes) and `positions` (3, k) go to the talker as they are."""

    text: str
    states: Blob
    positions: Blob
    last: bool
    event: StageEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkerMessage:
    codes: Blob
    last: bool
    event: StageEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Code2WavMessage:
    pcm: bytes
    last: bool
    event: StageEvent


StageMessage = ThinkerMessage | TalkerMessage | Code2WavMessage
