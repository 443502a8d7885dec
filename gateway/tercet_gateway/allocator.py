"""Gives the memory of large bodies back: called once by `__main__`, before anything is allocated.

glibc maps large blocks apart and unmaps them when they are freed, but raises the size that counts as large
with every such block, up to 32 MiB; from then on bodies and pictures are cut from arenas that never shrink.
Setting the threshold by hand keeps it where it is (mallopt(3), M_MMAP_THRESHOLD). On other C libraries
nothing is done.
"""

import ctypes
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_THRESHOLD_BYTES: Final = 256 * 1024


def return_large_blocks() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
