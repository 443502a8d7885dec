"""What the GPU does in a decode step and in a first window: kernels, their time, how long it is busy."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import torch
from tercet_engine.stage import ThinkerInput
from torch.profiler import ProfilerActivity, profile

from bench.engine.decoding import build_talker_input
from bench.engine.engines import Engines
from bench.engine.records import Recorder
from bench.engine.sound import CROWD, FIRST_CODES, build_input, time_window
from bench.engine.turns import build_turn, time_all

STEPS: Final = 16
SHOWN: Final = 8
"""Kernels that are listed, those with the most time first."""
LETTERS: Final = 60
"""Of a kernel's name."""


def measure(engines: Engines, record: Recorder) -> None:
    """Times are longer than without the profiler; shares are what counts."""
    amounts = engines.plan.amounts
    config = engines.checkpoint.config.talker_config

    def think(turns: int) -> float:
        turn = (build_turn(LETTERS, tokens=STEPS + 1, ends=engines.ends) for _ in range(turns))
        return time_all(engines.thinker, [ThinkerInput(turn=each) for each in turn])

    def talk() -> float:
        dtype = engines.plan.torch_dtype
        given = build_talker_input(
            amounts, STEPS + 1, width=config.hidden_size, dtype=dtype, ends=engines.ends
        )
        return time_all(engines.talker, [given])

    for turns in amounts.thinker_turns[:3]:
        _profile(record, f"thinker, {turns} turns", STEPS, partial(think, turns))
    _profile(record, "talker, 1 turn", STEPS, talk)
    first = build_input(FIRST_CODES, None, last=False)
    for turns in (1, CROWD):
        what = f"code2wav, first windows of {turns} turns"
        _profile(record, what, 1, partial(time_window, engines.code2wav, [first] * turns))


def _profile(record: Recorder, what: str, steps: int, work: Callable[[], float]) -> None:
    """`work` once to warm up and once under the profiler; the prompt's step is in it."""
    work()
    with profile(
        activities=[ProfilerActivity.CUDA] if torch.cuda.is_available() else [ProfilerActivity.CPU]
    ) as seen:
        started = time.perf_counter()
        work()
        wall_s = time.perf_counter() - started
    kernels: Sequence[Any] = [event for event in seen.key_averages() if event.self_device_time_total > 0]
    busy_us = sum(event.self_device_time_total for event in kernels)
    record.add(f"{what}: kernels a step", sum(event.count for event in kernels) / steps, "")
    record.add(f"{what}: GPU busy", 100 * busy_us / 1e6 / wall_s, "%")
    for event in sorted(kernels, key=lambda event: -event.self_device_time_total)[:SHOWN]:
        share = 100 * event.self_device_time_total / busy_us
        record.add(f"{what}: kernel time", share, "%", kernel=event.key[:LETTERS], count=event.count)
