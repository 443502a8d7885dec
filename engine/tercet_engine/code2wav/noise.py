"""The noise that a turn's mel starts from: the same for a frame whatever the windows are.

`turn` holds one source per turn. Every device draws it on the CPU, in float32 and block by block, and so
the values for a seed are those of `torch.manual_seed(seed); torch.randn(1, frames, mel)`: the reference's.
"""

import torch

from tercet_engine.code2wav.windows import BLOCK_FRAMES

_SEEDS = 2**64


class NoiseSource:
    """Frames come by number and may be asked for again until they are dropped."""

    def __init__(self, seed: int, mel_dim: int) -> None:
        self._generator = torch.Generator().manual_seed(seed % _SEEDS)
        self._mel_dim = mel_dim
        self._first_block = 0
        self._blocks: list[torch.Tensor] = []

    def frames(self, start: int, stop: int) -> torch.Tensor:
        """(stop - start, mel)."""
        offset = self._first_block * BLOCK_FRAMES
        while offset + len(self._blocks) * BLOCK_FRAMES < stop:
            self._blocks.append(torch.randn(BLOCK_FRAMES, self._mel_dim, generator=self._generator))
        first = start // BLOCK_FRAMES - self._first_block
        drawn = torch.cat(self._blocks[first : -(-stop // BLOCK_FRAMES) - self._first_block])
        return drawn[start % BLOCK_FRAMES :][: stop - start]

    def drop_before(self, block: int) -> None:
        del self._blocks[: max(0, block - self._first_block)]
        self._first_block = max(self._first_block, block)
