"""What the device can do at best: bytes copied and products, measured and not taken from a data sheet."""

import time
from collections.abc import Callable
from statistics import median
from typing import Final

import torch

from bench.engine.engines import Engines
from bench.engine.records import Recorder

COPY_BYTES: Final = 4 * 2**30
QUICK_COPY_BYTES: Final = 2**24
SIDE: Final = 8192
QUICK_SIDE: Final = 256
REPEATS: Final = 10


def measure(engines: Engines, record: Recorder) -> None:
    plan = engines.plan
    device = torch.device(plan.device)
    size = QUICK_COPY_BYTES if plan.quick else COPY_BYTES
    source = torch.empty(size // 2, dtype=torch.float16, device=device).normal_()
    target = torch.empty_like(source)
    seconds = time_work(lambda: target.copy_(source), device)
    record.add("copy bandwidth, read and written", 2 * size / seconds / 1e9, "GB/s")
    side = QUICK_SIDE if plan.quick else SIDE
    left, right = (torch.empty(side, side, dtype=plan.torch_dtype, device=device).normal_() for _ in range(2))
    seconds = time_work(lambda: left @ right, device)
    record.add("matrix product", 2 * side**3 / seconds / 1e12, "TFLOP/s", dtype=plan.dtype, side=side)


def time_work(work: Callable[[], object], device: torch.device) -> float:
    """Median seconds of one call, after three."""
    for _ in range(3):
        work()
    times = []
    for _ in range(REPEATS):
        wait_for(device)
        started = time.perf_counter()
        work()
        wait_for(device)
        times.append(time.perf_counter() - started)
    return median(times)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
