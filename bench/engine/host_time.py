"""What a decode step costs before and beside its kernels: thinkers so narrow that the GPU waits for the host.

Steps of thinkers with few layers and with as many as the real one: the slope is the host's time for a layer
(launches included), and what is left without layers is bookkeeping, sampling and messages.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import torch
from tercet_engine.demo.sizes import SIZES, build_config
from tercet_engine.stage import ThinkerInput
from tercet_engine.thinker import load_thinker
from tercet_wire.names import Stage

from bench.engine.decoding import step_time
from bench.engine.engines import DEMO_KV_BYTES, Engines, build_settings
from bench.engine.models import build_model, write_checkpoint
from bench.engine.records import Recorder
from bench.engine.turns import build_turn, time_all

FEW_LAYERS: Final = 2


def measure(engines: Engines, record: Recorder) -> None:
    plan = engines.plan
    real = engines.checkpoint.config.thinker_config.text_config.num_hidden_layers
    turns = (min(plan.amounts.thinker_turns), max(plan.amounts.thinker_turns))
    few = _time_steps(engines, FEW_LAYERS, turns)
    many = _time_steps(engines, real, turns)
    for count in turns:
        layer_s = (many[count] - few[count]) / (real - FEW_LAYERS)
        record.add("host time of a step", 1000 * many[count], "ms", turns=count, layers=real)
        record.add(
            "host time of a step", 1000 * (few[count] - FEW_LAYERS * layer_s), "ms", turns=count, layers=0
        )


def _time_steps(engines: Engines, layers: int, turns: tuple[int, ...]) -> dict[int, float]:
    """Seconds of a step, by turns."""
    plan, amounts = engines.plan, engines.plan.amounts
    folder = plan.folder.with_name(f"{plan.folder.name}-narrow-{layers}")
    _write(folder, layers, torch.device(plan.device), plan.torch_dtype)
    settings = build_settings(plan, Stage.THINKER, checkpoint=str(folder), kv_bytes=DEMO_KV_BYTES["tiny"])
    thinker = load_thinker(settings)

    def think(count: int, tokens: int) -> float:
        prompt = min(40, amounts.prompt_letters)
        return time_all(thinker, [ThinkerInput(turn=build_turn(prompt, tokens=tokens)) for _ in range(count)])

    try:
        for count in turns:
            think(count, amounts.warm_tokens)
        return {count: step_time(amounts, partial(think, count), amounts.rounds) for count in turns}
    finally:
        thinker.shutdown()


def _write(folder: Path, layers: int, device: torch.device, dtype: torch.dtype) -> None:
    size = SIZES["tiny"]
    narrow = replace(size, thinker=replace(size.thinker, layers=layers))
    write_checkpoint(build_model(build_config(narrow), device, dtype), folder)
