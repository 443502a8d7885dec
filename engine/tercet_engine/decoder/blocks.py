"""Which KV blocks are free: counting only, no memory.

Used by the scheduler, which reserves a turn's worst case when it is admitted and gives it back when the
turn ends. Knows nothing of tensors; `kv.py` holds the memory that the numbers stand for.
"""


class BlockPool:
    """`blocks` numbers, each in the pool or with exactly one holder."""

    def __init__(self, *, blocks: int, block_tokens: int) -> None:
        self.blocks = blocks
        self.block_tokens = block_tokens
        self._free = list(range(blocks - 1, -1, -1))

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def capacity_tokens(self) -> int:
        return self.blocks * self.block_tokens

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)

    def take(self, tokens: int) -> tuple[int, ...] | None:
        """Enough blocks for `tokens`, or None if there are too few."""
        count = self.blocks_for(tokens)
        if count > len(self._free):
            return None
        return tuple(self._free.pop() for _ in range(count))

    def give_back(self, blocks: tuple[int, ...]) -> None:
        self._free.extend(reversed(blocks))
