"""The peer: transformers' own `generate` on the same weights, as its users run it.

Called by `against_transformers`. fp32 with SDPA and every core; greedy text, and the talker sampled as the
reference does. `generate` returns when text, codes and sound are complete, so its first sound is its last.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tercet_wire.names import SAMPLE_RATE_HZ
from transformers import AutoProcessor, Qwen2_5OmniForConditionalGeneration
from transformers.utils import logging

from bench.workload import VOICE, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRun:
    """One call of `generate` for a batch; `audio_s` is that of its turns together."""

    wall_s: float
    audio_s: float


class TransformersPeer:
    def __init__(self, checkpoint: Path, threads: int) -> None:
        logging.set_verbosity_error()
        torch.set_num_threads(threads)
        # Any: transformers' model and processor classes are typed loosely.
        self._model: Any = Qwen2_5OmniForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()
        self._processor: Any = AutoProcessor.from_pretrained(checkpoint)

    def speak(self, workload: Workload, *, turns: int) -> PeerRun:
        """Answer the workload's turn in a batch of `turns`, from text in to sound out."""
        started = time.perf_counter()
        text = self._processor.apply_chat_template(
            workload.chat(), add_generation_prompt=True, tokenize=False
        )
        inputs = self._processor(text=[text] * turns, return_tensors="pt", padding=True)
        _, sound = self._model.generate(
            **inputs,
            speaker=VOICE,
            thinker_max_new_tokens=workload.text_tokens,
            thinker_suppress_tokens=list(workload.end_tokens),
            thinker_do_sample=False,
        )
        wall_s = time.perf_counter() - started
        waves = [sound] if turns == 1 else sound
        return PeerRun(wall_s=wall_s, audio_s=sum(wave.numel() for wave in waves) / SAMPLE_RATE_HZ)
