"""From settings to a running decoder stage: memory is measured out, one step loop started per device.

Used by `load_thinker` and `load_talker`, which say how their stage is built on a device.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from tercet_wire.settings import StageSettings

from tercet_engine.decoder.blocks import BlockPool
from tercet_engine.decoder.kv import KVCache
from tercet_engine.decoder.paged import can_attend
from tercet_engine.decoder.reply import DecoderStage
from tercet_engine.decoder.sampling import prepare_picking
from tercet_engine.decoder.shape import DecoderShape
from tercet_engine.spread import load_each
from tercet_engine.stage import StageEngine
from tercet_engine.step_loop import StepLoop

Input = TypeVar("Input")
Output = TypeVar("Output")

# Any: a stage's own reply type, which only the stage looks into.
BuildStage = Callable[[torch.device, BlockPool], DecoderStage[Input, Output, Any]]
"""(device, the blocks that its turns share) -> the stage on it."""


def build_engine(
    settings: StageSettings, shape: DecoderShape, build_stage: BuildStage[Input, Output]
) -> StageEngine[Input, Output]:
    return load_each(settings, partial(_build_loop, settings, shape, build_stage))


def read_dtype(settings: StageSettings) -> torch.dtype:
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[settings.dtype]


def _build_loop(
    settings: StageSettings, shape: DecoderShape, build_stage: BuildStage[Input, Output], device_name: str
) -> StepLoop[Input, Output]:
    device, dtype = torch.device(device_name), read_dtype(settings)
    pool = BlockPool(blocks=_count_blocks(settings, shape, dtype), block_tokens=settings.block_tokens)
    if device.type == "cuda":
        # On Hopper SDPA prefers cuDNN's attention, which is planned anew for each shape, and each prompt,
        # picture and sound has its own. Batches of new lengths were seen to take a second there.
        torch.backends.cuda.enable_cudnn_sdp(False)
    prepare_picking(device)
    stage = build_stage(device, pool)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what weights took before they were joined; other processes may need it
    paged = can_attend(device, dtype, shape.head_dim)
    cache = KVCache(shape, pool, seats=settings.max_turns, device=device, dtype=dtype, paged=paged)
    if paged:
        stage.decoder.capture(cache, settings.max_turns)
    return StepLoop(stage, cache, pool, settings)


def _count_blocks(settings: StageSettings, shape: DecoderShape, dtype: torch.dtype) -> int:
    block_bytes = settings.block_tokens * shape.kv_values * dtype.itemsize
    blocks = settings.kv_bytes // block_bytes
    if blocks == 0:
        raise ValueError(
            f"{settings.kv_bytes} bytes of KV memory hold no block of {block_bytes} bytes; "
            f"give the {settings.stage} more, or fewer tokens a block"
        )
    return blocks
