"""How many cores torch's operations on one thread use.

Called first thing on every thread that computes, or before each step where the count changes.
"""

import torch


def use_threads(count: int) -> None:
    """Of the calling thread, whatever others ask for later.

    torch sets each thread's count at its first operation once more, to what any thread asked for last: a
    thread that asks for one would take the others' cores away. Reading the count gets that over with.
    """
    torch.get_num_threads()
    torch.set_num_threads(count)


class SharedThreads:
    """The threads of instances on one CPU: the first has all of them while the others have nothing to do.

    Only the first, and only where each has one. OpenMP keeps a team of workers for each thread that ever
    computed on several cores, and once these are more than the cores, all let go of the processor between two
    products.
    """

    def __init__(self, each: int) -> None:
        self.each = each
        self._busy: list[bool] = []

    def join(self) -> int:
        """The number of a new instance."""
        self._busy.append(False)
        return len(self._busy) - 1

    def tell(self, instance: int, *, busy: bool) -> None:
        self._busy[instance] = busy

    def count(self, instance: int) -> int:
        """How many the instance may use now."""
        has_all = instance == 0 and self.each == 1 and not any(self._busy[1:])
        return len(self._busy) if has_all else self.each
