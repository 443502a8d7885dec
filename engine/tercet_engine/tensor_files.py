"""Reads a safetensors file's header, and finds out whether the file is whole.

Used by `checkpoint` before any weight is read. The layout: eight bytes of header length, the header as JSON,
then the data; each entry of the header says where in the data its tensor ends.
"""

import json
import struct
from pathlib import Path
from typing import Final

_MOST_HEADER_BYTES: Final = 100 * 2**20
"""The format's own limit; a greater length means that this is no safetensors file."""


class TensorFileError(Exception):
    """Says what is wrong with one file, without its name."""


def read_tensor_names(path: Path) -> frozenset[str]:
    """Names of the tensors in a file whose size agrees with its header."""
    try:
        header, data_start = _read_header(path)
        size = path.stat().st_size
    except OSError as error:
        raise TensorFileError("missing" if isinstance(error, FileNotFoundError) else str(error)) from error
    header.pop("__metadata__", None)
    try:
        data_bytes = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (KeyError, IndexError, TypeError) as error:
        raise TensorFileError("damaged: an entry of its header has no offsets") from error
    if size != data_start + data_bytes:
        raise TensorFileError(
            f"truncated or damaged: {size} bytes where its header says {data_start + data_bytes}"
        )
    return frozenset(header)


def _read_header(path: Path) -> tuple[dict[str, dict[str, list[int]]], int]:
    with path.open("rb") as file:
        length_field = file.read(8)
        if len(length_field) < 8:
            raise TensorFileError(f"truncated: only {len(length_field)} bytes")
        (length,) = struct.unpack("<Q", length_field)
        if length > _MOST_HEADER_BYTES:
            raise TensorFileError("not a safetensors file")
        content = file.read(length)
    if len(content) < length:
        raise TensorFileError("truncated within its header")
    try:
        header = json.loads(content)
    except ValueError as error:
        raise TensorFileError("damaged: its header is no JSON") from error
    if not isinstance(header, dict):
        raise TensorFileError("damaged: its header is no JSON object")
    return header, 8 + length
