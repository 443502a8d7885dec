"""What to do when a device is lost: end the stage, so that whoever keeps it starts it anew.

After some faults (an illegal access, an ECC error) no kernel of this process runs any more, whatever turn it
is for. Step loops wrap all that may touch the device in `ending_if_lost`; a failure of one turn stays that
turn's.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class DeviceLost(BaseException):
    """Not an Exception, so that nothing contains it: the thread that gets it ends."""


@contextmanager
def ending_if_lost() -> Iterator[None]:
    try:
        yield
    except torch.AcceleratorError as error:  # out of memory is another error, and passes
        raise DeviceLost(str(error)) from error
