"""Qwen2.5-Omni in its published shapes with random weights, for machines where no checkpoint is at hand.

`build_model` draws them on the device in seconds, the same ones for a seed and a device; `write_checkpoint`
lays them out as the published folders are. Vocabulary and processors are the demo's. Tokens that would end
a reply, or that the demo's tokenizer does not know, have head rows of zeros: something else always scores
more, so that the length of a reply is what its request says.
"""

import json
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import init_empty_weights
from tercet_engine.demo.processors import write_processor
from tercet_engine.demo.sizes import SIZES, build_config
from tercet_engine.demo.vocabulary import SPEAKERS, TOKENS
from torch import nn
from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration
from transformers.initialization import no_init_weights
from transformers.utils import logging as hf_logging

from bench.architecture import build_3b, build_7b

MODELS: Final = ("3B", "7B", "bench", "tiny")
PRINTABLE: Final = slice(32, 127)
"""Token ids of the demo's vocabulary that may be said: bytes stand for themselves."""
CODES: Final = 8193
"""Codes that are sound, of 8448."""
REFERENCE_FRAMES: Final = 300
WEIGHTS: Final = 2
"""Raise it whenever they are drawn otherwise, so that none of before are served."""
SHARD: Final = "4GB"
SECTIONS: Final = {128: (16, 24, 24), 64: (16, 16, 0)}
"""Shares of time, height and width in half a head, by its width; only the 3B talker has narrow ones."""


# Any: transformers' config and model classes set their fields dynamically.
def read_config(name: str) -> Any:
    """One of MODELS, with the demo's special tokens."""
    hf_logging.set_verbosity_error()  # it warns of the talker's text tokens, which are the thinker's
    demo = build_config(SIZES["tiny"])
    match name:
        case "tiny":
            return demo
        case "bench":
            return build_config(SIZES["bench"])
    values = {"3B": build_3b, "7B": build_7b}[name]().to_dict()
    ours = demo.to_dict()
    _take_tokens(values["thinker_config"], ours["thinker_config"])
    _take_tokens(values["thinker_config"]["text_config"], ours["thinker_config"]["text_config"])
    _take_tokens(values["talker_config"], ours["talker_config"])
    values["thinker_config"]["text_config"]["rope_parameters"]["mrope_section"] = list(SECTIONS[128])
    talker = values["talker_config"]
    talker["rope_parameters"]["mrope_section"] = list(SECTIONS[talker["head_dim"]])
    return Qwen2_5OmniConfig.from_dict(values)


def _take_tokens(values: dict[str, Any], other: dict[str, Any]) -> None:
    values.update({key: value for key, value in other.items() if "token" in key})


def build_model(config: Any, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Any:
    """On the device; numbers of 16 bits but for code2wav's, which are float32, as they are published."""
    with init_empty_weights(include_buffers=False), no_init_weights():
        model = Qwen2_5OmniForConditionalGeneration._from_config(config, attn_implementation="sdpa").eval()
    generator = torch.Generator(device).manual_seed(seed)
    for path, module in model.named_modules():
        is_sound = path.startswith("token2wav")
        kind = torch.float32 if is_sound else dtype
        for name, parameter in list(module.named_parameters(recurse=False)):
            values = torch.empty(parameter.shape, device=device, dtype=kind)
            _draw(values, name, is_table=isinstance(module, nn.Embedding), generator=generator)
            if not is_sound:
                values.copy_(values.bfloat16())
            module.register_parameter(name, nn.Parameter(values, requires_grad=False))
    _silence(model.thinker.lm_head.weight, PRINTABLE)
    _silence(model.talker.codec_head.weight, slice(0, CODES))
    return model.to(device)  # what is left are buffers


def _draw(values: torch.Tensor, name: str, *, is_table: bool, generator: torch.Generator) -> None:
    """Values that neither vanish nor grow from layer to layer."""
    if values.dim() > 1:
        fan_in = values[0].numel()
        values.normal_(std=1.0 if is_table else fan_in**-0.5, generator=generator)
    elif name == "bias":
        values.normal_(std=0.02, generator=generator)
    else:
        values.fill_(1.0 if name == "weight" else 0.0)  # norms; and the vocoder's logarithms


def _silence(head: torch.Tensor, spoken: slice) -> None:
    kept = head[spoken].clone()
    head.zero_()
    head[spoken] = kept


def write_checkpoint(model: Any, folder: Path) -> None:
    hf_logging.disable_progress_bar()
    model.save_pretrained(folder, max_shard_size=SHARD)
    generation = {
        "bos_token_id": TOKENS["<|im_start|>"],
        "eos_token_id": [TOKENS["<|im_end|>"], TOKENS["<|endoftext|>"]],
        "pad_token_id": TOKENS["<|endoftext|>"],
    }
    (folder / "generation_config.json").write_text(json.dumps(generation))
    torch.save(_build_speakers(model.config.token2wav_config.dit_config), folder / "spk_dict.pt")
    write_processor(folder)


def _build_speakers(dit: Any) -> dict[str, dict[str, Any]]:
    generator = torch.Generator().manual_seed(11)
    return {
        name: {
            "bos_token": token,
            "cond": torch.randn(1, dit.enc_emb_dim, generator=generator),
            "ref_mel": torch.randn(1, REFERENCE_FRAMES, dit.mel_dim, generator=generator) - 5.0,
        }
        for name, token in SPEAKERS.items()
    }
