"""Which KV blocks are free, held, or worth keeping: counting only, no memory.

Used by the scheduler, which takes blocks as a turn grows and gives them back when it ends. A block whose
content has a key can serve every turn that begins with the same content; when nobody holds it any more, it
is kept until its room is needed, the least recently used first. Knows nothing of tensors; `kv.py` holds the
memory that the numbers stand for.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple, TypeVar

Found = TypeVar("Found")

Key = bytes
"""Stands for the content of one block and of all before it."""


def find_leading(found: Mapping[Key, Found], keys: Iterable[Key]) -> list[Found]:
    """What is there for the first keys, up to the first of which nothing is there."""
    return [found[key] for key in takewhile(found.__contains__, keys)]


class Prefix(NamedTuple):
    """The keys of a turn's whole prompt blocks, and how many leading ones may come from other turns."""

    keys: tuple[Key, ...] = ()
    usable: int = 0


class Size(NamedTuple):
    """Rows that a turn begins with, and the most that it can ever keep."""

    prompt: int
    most: int


class Grant(NamedTuple):
    """A turn's blocks, in order; the first `known` ones hold what it would write there."""

    blocks: tuple[int, ...]
    known: int = 0


class BlockPool:
    """`blocks` numbers, each free, kept for its content, or with one holder or several that begin alike."""

    def __init__(self, *, blocks: int, block_tokens: int) -> None:
        self.blocks = blocks
        self.block_tokens = block_tokens
        self._free = list(range(blocks - 1, -1, -1))
        self._holders = [0] * blocks
        self._by_key: dict[Key, int] = {}
        self._keys: dict[int, Key] = {}
        self._kept: OrderedDict[int, None] = OrderedDict()

    @property
    def free(self) -> int:
        """Those that could be taken, kept ones among them."""
        return len(self._free) + len(self._kept)

    @property
    def capacity_tokens(self) -> int:
        return self.blocks * self.block_tokens

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)

    def count_taken(self, tokens: int, keys: Sequence[Key] = ()) -> int:
        """How many of the free ones `take` would take."""
        known = find_leading(self._by_key, keys)
        return self.blocks_for(tokens) - sum(block not in self._kept for block in known)

    def take(self, tokens: int, keys: Sequence[Key] = ()) -> Grant:
        """Enough blocks for `tokens`, among them those that are known of the leading `keys`; there must be as
        many free as `count_taken` says.
        """
        known = find_leading(self._by_key, keys)
        for block in known:
            self._kept.pop(block, None)
        blocks = (*known, *(self._take_free() for _ in range(self.blocks_for(tokens) - len(known))))
        for block in blocks:
            self._holders[block] += 1
        return Grant(blocks, len(known))

    def take_one(self) -> int:
        """One more; there must be a free one."""
        block = self._take_free()
        self._holders[block] = 1
        return block

    def count_own(self, blocks: Iterable[int]) -> int:
        """Those that nobody else holds: they will be free when their holder ends."""
        return sum(self._holders[block] == 1 for block in blocks)

    def know(self, blocks: Sequence[int], keys: Sequence[Key]) -> None:
        """These blocks, which somebody holds, have been written and may be shared from now on."""
        for block, key in zip(blocks, keys, strict=False):
            if key not in self._by_key:
                self._by_key[key] = block
                self._keys[block] = key

    def give_back(self, blocks: Sequence[int]) -> list[int]:
        """Returns those whose content nobody can ask for any more."""
        forgotten = []
        for block in reversed(blocks):  # of a prompt, the end goes first when room is needed
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._keys:
                self._kept[block] = None
            else:
                self._free.append(block)
                forgotten.append(block)
        return forgotten

    def _take_free(self) -> int:
        if self._free:
            return self._free.pop()
        block, _ = self._kept.popitem(last=False)
        del self._by_key[self._keys.pop(block)]
        return block
