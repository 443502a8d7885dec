"""Between host and device without waiting: what a step sends up, and what it brings down.

Used by the step loop and the stages. On a GPU an ordinary copy waits for all that is queued there; these go
through pinned memory and are ordered by the stream. On a CPU both are plain tensors.
"""

from collections.abc import Sequence
from typing import Any

import torch


# Any: numbers, or sequences of numbers.
def upload(values: Sequence[Any], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The numbers as a tensor on the device; kernels queued after it see them."""
    if device.type != "cuda":
        return torch.tensor(values, dtype=dtype)
    return torch.tensor(values, dtype=dtype, pin_memory=True).to(device, non_blocking=True)


class Download:
    """A tensor on its way to the host: begun at once, waited for only by `take`."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._host = tensor
        self._arrived: torch.cuda.Event | None = None
        if tensor.device.type == "cuda":
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def take(self) -> torch.Tensor:
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host
