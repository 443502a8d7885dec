"""How many turns can be played at once without making a listener wait: pure, learned from the steps made.

The code2wav stage tells each step's time, and that of some before the first turn (`rehearsal`), and asks
before it gives a place. A turn that is played needs a second of sound a second, whatever its length, and the
earliest deadline first serves all as long as together they need less than the time there is. So the measure
is the work of one second for all who would have a place. A turn gives its place back when all is decoded,
before its listener ends: no time is left unused.
"""

from dataclasses import dataclass
from typing import Final

from tercet_engine.code2wav.windows import BLOCK_FRAMES, FRAMES_PER_S

BLOCK_S: Final = BLOCK_FRAMES / FRAMES_PER_S
MEMORY: Final = 0.97
"""What a step's time still counts after the next: the last thirty or so decide."""
LEAST_SPREAD: Final = 0.1
"""Variance of the blocks a step below which steps are too alike to tell its own cost from its blocks'."""


@dataclass(slots=True, kw_only=True)
class StepCost:
    """A step's time as a straight line over its blocks: sums of what was seen, the latest counting most."""

    count: float = 0.0
    blocks: float = 0.0
    blocks_squared: float = 0.0
    seconds: float = 0.0
    product: float = 0.0

    def observe(self, blocks: int, seconds: float) -> None:
        self.count = MEMORY * self.count + 1
        self.blocks = MEMORY * self.blocks + blocks
        self.blocks_squared = MEMORY * self.blocks_squared + blocks**2
        self.seconds = MEMORY * self.seconds + seconds
        self.product = MEMORY * self.product + blocks * seconds

    def estimate(self, blocks: int) -> float:
        """Seconds; 0 as long as nothing was observed."""
        if not self.blocks:
            return 0.0
        mean_blocks, mean_s = self.blocks / self.count, self.seconds / self.count
        spread = self.blocks_squared / self.count - mean_blocks**2
        per_block = mean_s / mean_blocks
        if spread > LEAST_SPREAD:
            slope = (self.product / self.count - mean_blocks * mean_s) / spread
            per_block = min(max(0.0, slope), per_block)  # no step costs less than nothing
        return mean_s + (blocks - mean_blocks) * per_block


def find_load(cost: StepCost, turns: int, most_blocks: int) -> float:
    """Seconds of computing that so many turns need for a second of sound each, a block at a time.

    `most_blocks`: in a step that keeps others in time. Fuller ones cost less for each block, but whoever
    comes meanwhile waits longer than the sound lasts that a new turn begins with.
    """
    step = min(turns, most_blocks)
    return turns * cost.estimate(step) / (step * BLOCK_S) if turns else 0.0


def can_join(cost: StepCost, *, turns: int, most_blocks: int, max_load: float) -> bool:
    """Whether one more turn may be played beside `turns`. The first always may: it makes nobody wait."""
    return turns == 0 or find_load(cost, turns + 1, most_blocks) <= max_load
