"""How many cores torch's operations on one thread use.

Called first thing on every thread that computes.
"""

import torch


def use_threads(count: int) -> None:
    """Of the calling thread, whatever others ask for later.

    torch sets each thread's count at its first operation once more, to what any thread asked for last: a
    thread that asks for one would take the others' cores away. Reading the count gets that over with.
    """
    torch.get_num_threads()
    torch.set_num_threads(count)
