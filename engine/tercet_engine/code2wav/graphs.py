"""A fixed program of tensors, recorded once and replayed: on a GPU thousands of kernels become one launch.

`dit` records one per batch size (all evaluations of a window), `vocoder` one per shape. The function takes
no arguments: it reads tensors that its owner fills before each replay, and what it returns is overwritten by
the next one. On a device without graphs the function itself is returned, so that the path of fixed shapes is
the same everywhere.
"""

from collections.abc import Callable
from typing import Final

import torch

WARM_RUNS: Final = 2
"""Before recording, on a stream of their own: libraries allocate and choose their kernels in the first."""

Program = Callable[[], torch.Tensor]


class Recorder:
    """Records programs of one device, which share memory: none runs while another does."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def record(self, program: Program) -> Program:
        if self._pool is None:
            return program
        with torch.cuda.device(self._device):
            _warm(program, self._device)
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the device meanwhile: other stages load beside this one.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                result = program()

        def replay() -> torch.Tensor:
            graph.replay()
            return result

        return replay


def _warm(program: Program, device: torch.device) -> None:
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARM_RUNS):
            program()
    torch.cuda.current_stream(device).wait_stream(stream)
