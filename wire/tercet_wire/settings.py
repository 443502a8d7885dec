"""What one stage is told at start: the builders write it as `<stage>.json`, the stage reads it once."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tercet_wire.names import Stage

Solver = Literal["rk4", "midpoint", "euler"]
Dtype = Literal["float32", "bfloat16", "float16"]
Quantization = Literal["none", "int8"]


class WindowSettings(BaseModel):
    """How code2wav cuts codes into windows (a block is 12 codes, 24 mel frames, 240 ms).

    The first window fires at `first_codes`, the next at the end of that block; then windows grow from
    `blocks` to `max_blocks` whole blocks as the listener's buffer grows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["stream", "whole"] = "stream"
    """`whole` waits for all codes and decodes them at once: the reference for quality."""
    first_codes: int = Field(default=8, ge=1, le=48)
    blocks: int = Field(default=1, ge=1, le=16)
    max_blocks: int = Field(default=4, ge=1, le=32)
    look_ahead_blocks: int = Field(default=0, ge=0, le=4)
    solver: Solver = "rk4"
    points: int = Field(default=10, ge=2, le=64)
    """Points of the solver's time grid; the reference uses rk4 with 10."""
    overlap_frames: int = Field(default=8, ge=0, le=64)
    """Mel frames of context on each side of the vocoder's input, trimmed from its output."""
    first_overlap_frames: int = Field(default=8, ge=0, le=64)
    """The same on the right of the first window, where each frame delays the first sound by 10 ms."""


class StageSettings(BaseModel):
    """All that a stage process needs to know.

    `devices` holds one torch device per instance ("cpu", "cuda:0"); turns are spread over them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Stage
    checkpoint: str
    dtype: Dtype = "float32"
    quantization: Quantization = "none"
    """`int8`: the decoder's products in 8 bits, on a CPU."""
    devices: tuple[str, ...] = ("cpu",)
    threads: int = Field(default=1, ge=1)
    """CPU threads of an instance: its share of the cores, never all of them."""
    max_turns: int = Field(default=32, ge=1)
    """Turns that are stepped at once; more wait."""
    queue_turns: int = Field(default=128, ge=0)
    """Turns that may wait; more are refused as overloaded."""
    queue_s: float = Field(default=30.0, gt=0)
    """How long a turn waits for a place or for KV memory before it is refused."""
    max_load: float = Field(default=0.9, gt=0)
    """Code2wav gives a place only while the turns that have one need at most this share of its time, so that
    no listener waits; the others wait for theirs, at most `queue_s`."""
    kv_bytes: int = Field(default=512 * 2**20, gt=0)
    block_tokens: int = Field(default=16, ge=1)
    chunk_tokens: int = Field(default=256, ge=1)
    """Most prompt tokens in one step, so that running turns are not held up."""
    prefix_cache: bool = True
    """The thinker keeps what it computed of prompts, as long as there is room, for those that begin alike."""
    flush_s: float = Field(default=0.04, ge=0)
    """The thinker gathers tokens this long before it sends a message (never the first two, nor those that
    the first window of speech waits for)."""
    window: WindowSettings = WindowSettings()
