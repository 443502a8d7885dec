"""Which stage gives way where several share the cores.

Sound is decoded last and waited for by a listener; what is written and said runs ahead of it. So thinker and
talker are nicer than code2wav: the first window is not held up by tokens and codes that nobody needs yet.
"""

import os
from typing import Final

from tercet_wire.names import Stage

NICENESS: Final = {Stage.THINKER: 5, Stage.TALKER: 5, Stage.CODE2WAV: 0}
"""5 is a quarter of the processor for one of two that want it all: nobody starves."""


def give_way(stage: Stage) -> None:
    """Of the calling thread and those that it starts from now on, which is how Linux keeps niceness."""
    os.nice(NICENESS[stage])
