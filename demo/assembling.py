"""Puts the trained parts together as one checkpoint, laid out as Hugging Face lays out Qwen2.5-Omni.

The weights are rounded to 16 bits: 65 dB below the sound, and half the size.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from tercet_engine.demo.processors import write_processor
from tercet_engine.demo.vocabulary import TOKENS
from torch import Tensor
from transformers import Qwen2_5OmniConfig

PARTS: Final = {
    "thinker": "thinker.",
    "talker": "talker.",
    "dit": "token2wav.code2wav_dit_model.",
    "vocoder": "token2wav.code2wav_bigvgan_model.",
}
"""Where each part's weights stand in the whole."""
_WEIGHTS: Final = "model.safetensors"


def assemble(
    config: Qwen2_5OmniConfig,
    parts: Mapping[str, Mapping[str, Tensor]],
    speakers: Mapping[str, Any],
    folder: Path,
) -> None:
    """Writes a new folder and puts it in the place of the old one. Weights are named as in the published
    files.
    """
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    config.architectures, config.dtype = ["Qwen2_5OmniForConditionalGeneration"], torch.float16
    config.save_pretrained(partial)
    weights = {PARTS[part] + name: value for part, held in parts.items() for name, value in held.items()}
    rounded = {name: value.to(torch.float16).contiguous() for name, value in weights.items()}
    save_file(rounded, partial / _WEIGHTS, metadata={"format": "pt"})
    torch.save(dict(speakers), partial / "spk_dict.pt")
    write_processor(partial)
    (partial / "generation_config.json").write_text(json.dumps(_generation(), indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def take_part(part: str, checkpoint: Path) -> dict[str, Tensor]:
    """The weights of one network of an assembled checkpoint, named as that network names them."""
    weights = load_file(checkpoint / _WEIGHTS)
    prefix = PARTS[part]
    return {
        name.removeprefix(prefix): value.float() for name, value in weights.items() if name.startswith(prefix)
    }


def _generation() -> dict[str, Any]:
    """A small model knows one answer to each question: it takes the likeliest token if not told otherwise.

    Its codes are drawn closer to the likeliest than the real model's, and may come again as sounds do.
    """
    return {
        "bos_token_id": TOKENS["<|im_start|>"],
        "eos_token_id": [TOKENS["<|im_end|>"], TOKENS["<|endoftext|>"]],
        "pad_token_id": TOKENS["<|endoftext|>"],
        "do_sample": False,
        "max_new_tokens": 256,
        "talker_temperature": 0.6,
        "talker_repetition_penalty": 1.0,
    }
