"""From the thinker's tokens to text that can be sent: whole characters only, and nothing past a stop string.

Used by the thinker, one `ReplyText` a turn over one `TokenBytes` a checkpoint. Qwen's tokens are bytes in
disguise, so text grows by decoding bytes as they come: the same text as decoding all tokens at once, at a
cost that does not grow with the reply.
"""

import codecs
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

_CACHED_TOKENS = 65_536


class TokenBytes:
    """The bytes that a token stands for."""

    # Any: transformers' tokenizers carry no types of their own.
    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self._special = frozenset(number for number, token in added.items() if token.special)
        self._added = {number: str(token).encode() for number, token in added.items()}
        self._byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
        self.name = lru_cache(_CACHED_TOKENS)(self._name)

    def text(self, token: int) -> bytes:
        """What the token adds to the reply: nothing if it is a special one."""
        return b"" if token in self._special else self.name(token)

    def _name(self, token: int) -> bytes:
        """The token itself, special or not, as log-probabilities show it."""
        if token in self._added:
            return self._added[token]
        letters = (
            self._tokenizer.convert_ids_to_tokens(token) or ""
        )  # a padded vocabulary has ids without one
        return bytes(self._byte_of[letter] for letter in letters)


class ReplyText:
    """Push tokens, take text. `has_stopped` once a stop string has been found; it is not part of the text.

    Without stop strings nothing is decoded before it is taken, so that a token costs next to nothing.
    """

    def __init__(self, tokens: TokenBytes, stops: Sequence[str] = ()) -> None:
        self.has_stopped = False
        self.settled = 0
        """Tokens whose text has been taken in full, or can be; a stop string can no longer swallow them."""
        self._tokens = tokens
        self._stops = stops
        self._pushed: list[int] = []  # not decoded yet
        self._free = ""  # not taken yet
        self._undecoded = b""  # the beginning of a character
        self._held = ""  # decoded, but it may be the beginning of a stop string
        self._released = 0  # characters
        self._ends: deque[int] = deque()  # for each token not settled, the characters up to its end

    def push(self, token: int) -> None:
        if not self._stops:
            self._pushed.append(token)
            return
        self._held += self._decode(self._tokens.text(token))
        self._ends.append(self._released + len(self._held))
        self._release(self._find_release())

    def take(self) -> str:
        """Text that can be sent now."""
        if self._pushed:
            self._free += self._decode(b"".join(map(self._tokens.text, self._pushed)))
            self.settled += len(self._pushed)
            self._pushed.clear()
        text, self._free = self._free, ""
        return text

    def finish(self) -> str:
        """The rest, at the end of the reply; a character that was cut off becomes a replacement mark."""
        text = self.take()
        if not self.has_stopped:
            self._held += self._decode(b"", is_final=True)
            self._release(self._find_release(is_final=True))
        return text + self.take()

    def _decode(self, more: bytes, *, is_final: bool = False) -> str:
        """As `codecs.getincrementaldecoder` would, at a third of its cost."""
        data = self._undecoded + more
        text, used = codecs.utf_8_decode(data, "replace", is_final)
        self._undecoded = data[used:]
        return text

    def _find_release(self, *, is_final: bool = False) -> int:
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.has_stopped = True
            return min(found)
        if is_final:
            return len(self._held)
        return len(self._held) - max((_overlap(self._held, stop) for stop in self._stops), default=0)

    def _release(self, characters: int) -> None:
        self._free += self._held[:characters]
        self._held = self._held[characters:]
        self._released += characters
        while self._ends and self._ends[0] <= self._released:
            self._ends.popleft()
            self.settled += 1
        if self.has_stopped:
            self._held = ""


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if stop.startswith(text[-size:])), 0)
