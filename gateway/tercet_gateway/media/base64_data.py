"""Bytes that come inside the request: plain base64, and `data:` URLs with base64 in them.

Called by `reader`, in a worker thread. The media type of a data URL is not believed and so not looked at:
what the bytes are shows when they are decoded.
"""

import binascii
from collections.abc import Iterator
from typing import Final

from tercet_gateway.media.refusals import MediaError, too_large

_SLICE_CHARS: Final = 2**20


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def parse_data_url(url: str, max_bytes: int) -> bytes:
    head, comma, payload = url.partition(",")
    if not comma:
        raise MediaError("The data URL has no comma, so no data.", "invalid_url")
    if not head.lower().endswith(";base64"):
        raise MediaError("The data URL must be base64: data:<media type>;base64,<data>.", "invalid_url")
    return parse_base64(payload, max_bytes)


def parse_base64(text: str, max_bytes: int) -> bytes:
    if len(text) // 4 * 3 > max_bytes + 2:  # + 2: padding counts as data here
        raise too_large(f"The data may have at most {max_bytes} bytes.")
    if not text:
        raise MediaError("The data is empty.", "invalid_base64")
    try:
        return b"".join(_iter_bytes(text))
    except ValueError as error:  # binascii.Error, or a character that is not ASCII
        raise MediaError("The data is not valid base64.", "invalid_base64") from error


def _iter_bytes(text: str) -> Iterator[bytes]:
    """In slices, because the interpreter's lock is held for the whole of one: other turns must not wait."""
    if "=" in text[:-2]:
        raise ValueError("padding in the middle")
    for start in range(0, len(text), _SLICE_CHARS):
        yield binascii.a2b_base64(text[start : start + _SLICE_CHARS], strict_mode=True)
