"""What tells two prompts apart, block by block, and the states that speech needs of blocks already known.

Conversations begin alike: the same system prompt, and each turn the whole of the turns before it. What the
thinker computed of such a beginning is in its KV blocks, and need not be computed again. A block's key stands
for everything up to its end: tokens, positions, and what was seen and heard.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from torch import Tensor

from tercet_engine.decoder.blocks import Key, find_leading
from tercet_engine.prompts import Prepared

_KEY_BYTES: Final = 16


def list_keys(prepared: Prepared, media_tokens: Sequence[int], block_tokens: int) -> tuple[Key, ...]:
    """Of the prompt's whole blocks. Its last row is never among them: the first token follows from it.

    `media_tokens`: the ids of sounds, images and videos, in this order.
    """
    contents = _hash_media(prepared, media_tokens)
    ids, positions = prepared.ids.numpy(), prepared.positions.numpy()
    keys: list[Key] = []
    key = b""
    for end in range(block_tokens, len(ids), block_tokens):
        span = slice(end - block_tokens, end)
        told = hashlib.blake2b(key, digest_size=_KEY_BYTES)
        told.update(ids[span].tobytes())
        told.update(positions[:, span].tobytes())
        for row in range(span.start, span.stop):
            told.update(contents.get(row, b""))
        keys.append(key := told.digest())
    return tuple(keys)


def _hash_media(prepared: Prepared, media_tokens: Sequence[int]) -> Mapping[int, bytes]:
    """The content of each sound, picture and video by the row where it begins."""
    kinds = (
        [(sound.tokens, sound.mel) for sound in prepared.sounds],
        [(image.tokens, image.values) for image in prepared.images],
        [(video.tokens, video.values) for video in prepared.videos],
    )
    found: dict[int, bytes] = {}
    for token, things in zip(media_tokens, kinds, strict=True):
        rows = (prepared.ids == token).nonzero().flatten().tolist()
        first = 0
        for count, values in things:
            content = values.numpy().tobytes()
            found[rows[first]] = hashlib.blake2b(content, digest_size=_KEY_BYTES).digest()
            first += count
    return found


class StateStore:
    """The states of prompts by block, for turns that speak; at most `most` blocks, the latest used stay."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._states: OrderedDict[Key, Tensor] = OrderedDict()

    def find(self, keys: Sequence[Key]) -> list[Tensor]:
        """Of the leading keys that are known, (block tokens, talker hidden) each."""
        known = find_leading(self._states, keys)
        for key in keys[: len(known)]:
            self._states.move_to_end(key)
        return known

    def keep(self, keys: Sequence[Key], states: Tensor, block_tokens: int) -> None:
        """`states` (rows, talker hidden) are those of a prompt from its first row on."""
        for index, key in enumerate(keys):
            if key not in self._states:
                self._states[key] = states[index * block_tokens : (index + 1) * block_tokens].clone()
        while len(self._states) > self._most:
            self._states.popitem(last=False)
