"""What stages say and are told, once the gRPC wrapping is off.

Made by `stages.tensors`, reasoned about by the conductor. Bulk data stays the bytes that came off the wire: a
Blob goes from one stage to the next untouched.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tercet_wire.messages import StageEvent
from tercet_wire.names import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One tensor: Triton's name of its type, its shape, its raw content."""

    datatype: str
    shape: tuple[int, ...]
    data: bytes


Tensors = Mapping[Tensor, Blob]


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
