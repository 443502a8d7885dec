"""One tensor as raw bytes, and the few kinds that the gateway makes or reads itself.

The conductor makes blobs and `stages.tensors` wraps them for Triton. Bulk data stays the bytes that came off
the wire: a blob goes from one stage to the next untouched.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tercet_wire.messages import Message
from tercet_wire.names import Tensor

_LENGTH: Final = struct.Struct("<I")  # Triton puts it before each element of a BYTES tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Triton's name of its type, its shape, its raw content."""

    datatype: str
    shape: tuple[int, ...]
    data: bytes


Tensors = Mapping[Tensor, Blob]


def text_blob(text: str) -> Blob:
    data = text.encode()
    return Blob(datatype="BYTES", shape=(1,), data=_LENGTH.pack(len(data)) + data)


def json_blob(message: Message) -> Blob:
    return text_blob(message.model_dump_json())


def flag_blob(flag: bool) -> Blob:
    return Blob(datatype="BOOL", shape=(1,), data=b"\x01" if flag else b"\x00")


def array_blob(datatype: str, item_bytes: int, data: bytes) -> Blob:
    return Blob(datatype=datatype, shape=(len(data) // item_bytes,), data=data)


def read_bytes(blob: Blob | None) -> bytes:
    """The first element of a BYTES tensor; nothing if there is none."""
    if blob is None or not blob.data:
        return b""
    if len(blob.data) < _LENGTH.size:
        raise ValueError("a BYTES tensor has no length")
    (length,) = _LENGTH.unpack_from(blob.data)
    if len(blob.data) < _LENGTH.size + length:
        raise ValueError("a BYTES tensor is shorter than it says")
    return blob.data[_LENGTH.size : _LENGTH.size + length]


def read_flag(blob: Blob | None) -> bool:
    return blob is not None and any(blob.data)
