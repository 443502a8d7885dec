"""A fixed program of tensors, recorded once and replayed: on a GPU thousands of kernels become one launch.

`dit` records one per batch size (all evaluations of a window), `vocoder` one per shape that recurs. A program
takes no arguments: it reads tensors that its owner fills before each replay, and what it returns is
overwritten by the next one. It may neither wait for the device nor bring anything to it. On a device without
graphs the program itself is returned, so that the path of fixed shapes is the same everywhere.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import torch

WARM_RUNS: Final = 2
"""Before recording, on a stream of their own: libraries allocate and choose their kernels in the first."""

SHAPES_KEPT: Final = 64

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


class RecordedByShape:
    """`function` of one tensor, recorded for each shape when it comes for the second time.

    What it returns is overwritten by its next call.
    """

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], recorder: Recorder) -> None:
        self._function = function
        self._recorder = recorder
        self._seen: set[torch.Size] = set()
        self._programs: OrderedDict[torch.Size, tuple[torch.Tensor, Program]] = OrderedDict()

    def __call__(self, given: torch.Tensor) -> torch.Tensor:
        if given.shape not in self._seen:
            self._seen.add(given.shape)
            return self._function(given)
        if given.shape not in self._programs:
            mine = given.clone()
            self._programs[given.shape] = mine, self._recorder.record(lambda: self._function(mine))
            if len(self._programs) > SHAPES_KEPT:
                self._programs.popitem(last=False)
        self._programs.move_to_end(given.shape)
        mine, program = self._programs[given.shape]
        mine.copy_(given)
        return program()


def _warm(program: Program, device: torch.device) -> None:
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARM_RUNS):
            program()
    torch.cuda.current_stream(device).wait_stream(stream)
