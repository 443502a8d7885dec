"""The process that measures: parts in order, each under a time limit, each figure written as it is found.

`python -m bench.engine` starts it, and starts it again with the parts that are left if one has ended it. A
part that exceeds its time ends the process with the stacks of all threads on stderr.
"""

import argparse
import faulthandler
import json
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from tercet_wire.names import Stage

from bench.architecture import count_values
from bench.engine import decoding, host_time, kernels, peer, roof, sound, speaking
from bench.engine.engines import ApartEngines, Engines, build_settings
from bench.engine.models import build_model, read_config, write_checkpoint
from bench.engine.plans import Plan
from bench.engine.records import Recorder


def make_checkpoint(engines: Engines, record: Recorder) -> None:
    """A folder that is there is whole: it gets its name at the end."""
    plan = engines.plan
    if plan.weights.exists():
        return
    started = time.perf_counter()
    model = build_model(read_config(plan.model), torch.device(plan.device), plan.torch_dtype)
    record.add("weights drawn", time.perf_counter() - started, "s")
    partial = plan.folder.with_name(f"{plan.folder.name}-partial")
    write_checkpoint(model, partial)
    partial.rename(plan.folder)
    record.add("weights written", time.perf_counter() - started, "s")
    del model
    engines.close()


def measure_apart(engines: Engines, record: Recorder) -> None:
    """Three processes on one device."""
    engines.close()
    apart = ApartEngines(engines.plan)
    try:
        with ThreadPoolExecutor() as threads:  # each takes a while to start
            list(threads.map(partial(getattr, apart), ("thinker", "talker", "code2wav")))
        turns = engines.plan.amounts.apart_turns
        speaking.measure_turns(apart, record, turns, where="three processes")
        _record_memory(apart, record)
    finally:
        apart.close()


def _record_memory(apart: ApartEngines, record: Recorder) -> None:
    """Beside the most that each stage had: what its weights take, and its keys and values."""
    values = count_values(apart.checkpoint.config)
    for stage, engine in apart.stages.items():
        settings = build_settings(apart.plan, stage)
        sizes = {
            "weights": values.on_device[stage] * getattr(torch, settings.dtype).itemsize,
            "keys and values": 0 if stage is Stage.CODE2WAV else settings.kv_bytes,
            **engine.read_memory(),
        }
        for what, size in sizes.items():
            record.add(f"memory of {stage}", size / 2**30, "GiB", what=what)


Part = Callable[[Engines, Recorder], None]
PARTS: Final[Mapping[str, Part]] = {
    "roof": roof.measure,
    "checkpoint": make_checkpoint,
    "thinker": decoding.measure_thinker,
    "prompts": decoding.measure_prompts,
    "talker": decoding.measure_talker,
    "code2wav": sound.measure,
    "computing": speaking.measure_computing,
    "speaking": speaking.measure,
    "precision": sound.measure_precision,
    "kernels": kernels.measure,
    "host": host_time.measure,
    "peer": peer.measure,
    "apart": measure_apart,
    "prompt": decoding.measure_long_prompt,
}
"""In the order in which they run; what most depends on comes first."""


def run(plan: Plan, parts: list[str], file: Path, part_s: float) -> None:
    engines = Engines(plan)
    if plan.device == "cpu":
        torch.set_num_threads(1)  # as many as each stage has there
    try:
        for part in parts:
            faulthandler.dump_traceback_later(part_s, exit=True)
            record = Recorder(model=plan.model, part=part, file=file)
            started = time.perf_counter()
            PARTS[part](engines, record)
            record.add(f"part {part}", time.perf_counter() - started, "s")
            record.finish()
    finally:
        faulthandler.cancel_dump_traceback_later()
        engines.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("order", type=json.loads, help="what to do, as JSON")
    order: dict[str, Any] = parser.parse_args().order
    checkpoint = order.pop("checkpoint")
    parts, file, part_s = order.pop("parts"), Path(order.pop("file")), order.pop("part_s")
    plan = Plan(
        **{**order, "folder": Path(order["folder"])}, checkpoint=Path(checkpoint) if checkpoint else None
    )
    run(plan, parts, file, part_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
