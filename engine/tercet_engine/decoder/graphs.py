"""A decode step as one CUDA graph for each batch size: a replay in place of hundreds of launches.

Used by the decoder on a GPU for steps of single rows only; steps with prompts in them run kernel by kernel.
Batches are padded to the next captured size with copies of their first row, which writes the same keys to
the same place again. All graphs share one set of input buffers and one memory pool. Not measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from tercet_engine.decoder.paged import Pages

Run = Callable[[torch.Tensor, torch.Tensor, Pages], torch.Tensor]
"""(rows (turns, hidden), positions (3, turns), pages) -> hidden (turns, hidden)."""

_COARSE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    hidden: torch.Tensor  # (size, hidden), written by each replay


class StaticInputs:
    """The buffers that a captured step reads; `fill` puts a batch there, padded to `size`."""

    def __init__(self, most: int, hidden: int, device: torch.device, dtype: torch.dtype) -> None:
        self.rows = torch.zeros(most, hidden, device=device, dtype=dtype)
        self.positions = torch.zeros(3, most, device=device, dtype=torch.int32)
        self.seats = torch.zeros(most, device=device, dtype=torch.int32)
        self.lengths = torch.ones(most, device=device, dtype=torch.int32)

    def fill(self, size: int, rows: torch.Tensor, positions: torch.Tensor, pages: Pages) -> None:
        count = len(rows)
        for buffer, values in (
            (self.rows, rows),
            (self.positions.T, positions.T),
            (self.seats, pages.seats),
            (self.lengths, pages.lengths),
        ):
            buffer[:count] = values
            if size > count:
                buffer[count:size] = values[:1]

    def cut(self, size: int) -> tuple[torch.Tensor, torch.Tensor, Pages]:
        pages = Pages(seats=self.seats[:size], lengths=self.lengths[:size])
        return self.rows[:size], self.positions[:, :size], pages


class DecodeGraphs:
    """Captured when the stage is loaded: later, other threads' work on the device would be in the way."""

    def __init__(self, run: Run, *, most: int, hidden: int, device: torch.device, dtype: torch.dtype) -> None:
        self._sizes = batch_sizes(most)
        self._inputs = StaticInputs(self._sizes[-1], hidden, device, dtype)
        self._pool = torch.cuda.graph_pool_handle()
        with torch.cuda.device(device), torch.inference_mode():
            # The largest first: the smaller find their memory in its pool.
            self._graphs = {size: self._capture(run, size) for size in reversed(self._sizes)}

    def run(self, rows: torch.Tensor, positions: torch.Tensor, pages: Pages) -> torch.Tensor | None:
        """The hidden rows, valid until the next step; None for a batch larger than all that were captured."""
        size = next((size for size in self._sizes if size >= len(rows)), None)
        if size is None:
            return None
        self._inputs.fill(size, rows, positions, pages)
        captured = self._graphs[size]
        captured.graph.replay()
        return captured.hidden[: len(rows)]

    def _capture(self, run: Run, size: int) -> _Graph:
        inputs = self._inputs.cut(size)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run(*inputs)  # kernels compile and libraries choose theirs before, not within, the capture
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            hidden = run(*inputs)
        return _Graph(graph=graph, hidden=hidden)


def batch_sizes(most: int) -> list[int]:
    """1, 2, 4, 8, then steps of 16: the larger a batch, the smaller the share of it that is padding."""
    sizes = [1, 2, 4, 8, *range(_COARSE, most, _COARSE)]
    return [*(size for size in sizes if size < most), most]
