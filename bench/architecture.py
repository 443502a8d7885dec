"""The published Qwen2.5-Omni models by their configurations, and what each stage keeps of them on its device.

Read by `sizing`. transformers' own classes are built on torch's meta device, where a parameter has a shape
and no memory, and counted; no checkpoint is needed. What a stage drops, adds or leaves on the host is what
tercet_engine does at load: `tests/bench/test_sizing.py` compares with what it puts on a device.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from tercet_wire.names import Stage
from torch import nn
from transformers import Qwen2_5OmniConfig
from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as modeling
from transformers.utils import logging as hf_logging

MEDIA_HIDDEN: Final = 1280
"""Width of the vision encoder; transformers' default is the thinker's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """How many numbers a model has, by stage."""

    on_device: Mapping[Stage, int]
    on_host: Mapping[Stage, int]
    """Kept in the stage's own memory because they are needed once, or seldom."""
    in_matrices: Mapping[Stage, int]
    """Of those on the device, the decoder layers' matrices: what a quantised format makes smaller."""
    fused: Mapping[Stage, int]
    """Matrices that are joined at load, and so are there twice for a moment, layer after layer."""
    in_files: Mapping[Stage, int]


def build_7b() -> Qwen2_5OmniConfig:
    return _build_config(
        text={
            "vocab_size": 152_064,
            "hidden_size": 3584,
            "intermediate_size": 18_944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
        talker={
            "hidden_size": 896,
            "intermediate_size": 18_944,
            "num_hidden_layers": 24,
            "num_attention_heads": 12,
            "num_key_value_heads": 4,
            "head_dim": 128,
        },
    )


def build_3b() -> Qwen2_5OmniConfig:
    return _build_config(
        text={
            "vocab_size": 151_936,
            "hidden_size": 2048,
            "intermediate_size": 11_008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
        },
        talker={
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "head_dim": 64,
        },
    )


def _build_config(*, text: dict[str, int], talker: dict[str, int]) -> Qwen2_5OmniConfig:
    """Audio encoder, DiT and vocoder are transformers' defaults, which are the published ones."""
    hidden = text["hidden_size"]
    hf_logging.set_verbosity_error()  # it warns of the talker's text tokens, which are the thinker's
    return Qwen2_5OmniConfig(
        thinker_config={
            "text_config": {**text, "tie_word_embeddings": False},
            "audio_config": {"output_dim": hidden},
            "vision_config": {"hidden_size": MEDIA_HIDDEN, "out_hidden_size": hidden},
        },
        talker_config={**talker, "embedding_size": hidden},
    )


# Any: transformers' config and model classes set their fields dynamically.
def count_values(config: Any) -> Values:
    with torch.device("meta"):
        thinker = modeling.Qwen2_5OmniThinkerForConditionalGeneration(config.thinker_config)
        talker = modeling.Qwen2_5OmniTalkerForConditionalGeneration(config.talker_config)
        token2wav = modeling.Qwen2_5OmniToken2WavModel(config.token2wav_config)
    projection = _count(talker.thinker_to_talker_proj)
    code2wav = _count_placed_dit(token2wav.code2wav_dit_model) + _count(token2wav.code2wav_bigvgan_model)
    codes = _count(talker.model.embed_tokens)
    layers = {Stage.THINKER: thinker.model.language_model.layers, Stage.TALKER: talker.model.layers}
    return Values(
        on_device={
            # It projects its states, so that half as many bytes travel.
            Stage.THINKER: _count(thinker) + projection,
            # Its codec embeddings are projected at load, and only the result is kept.
            Stage.TALKER: _count(talker) - projection - codes + _count_codes(config.talker_config),
            Stage.CODE2WAV: code2wav,
        },
        on_host={
            Stage.THINKER: 0,
            Stage.TALKER: 0,
            Stage.CODE2WAV: _count_left_of_dit(token2wav.code2wav_dit_model),
        },
        in_matrices={stage: _count(each, _is_matrix) for stage, each in layers.items()},
        fused={stage: _count(each, _is_fused) for stage, each in layers.items()},
        in_files={
            Stage.THINKER: _count(thinker),
            Stage.TALKER: _count(talker),
            Stage.CODE2WAV: _count(token2wav),
        },
    )


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
    del name
    return parameter.dim() > 1


def _is_fused(name: str, parameter: nn.Parameter) -> bool:
    fused = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
    return _is_matrix(name, parameter) and name.split(".")[-2] in fused


def _count(module: Any, counts: Callable[[str, nn.Parameter], bool] = lambda _name, _parameter: True) -> int:
    return sum(values.numel() for name, values in module.named_parameters() if counts(name, values))


def _count_codes(talker: Any) -> int:
    """Projected, and one row for no code."""
    return int((talker.vocab_size + 1) * talker.hidden_size)


def _count_code_table(dit: Any) -> int:
    """The codes' embeddings, already through the input projection."""
    return int((dit.num_embeds + 1) * dit.hidden_size)


def _count_placed_dit(dit: Any) -> int:
    """Without what the device never needs: time, modulations and voices are worked out on the host."""
    blocks = _count(dit.transformer_blocks, lambda name, _: ".attn_norm." not in name)
    noise = dit.config.mel_dim * dit.config.hidden_size
    return int(blocks + _count_code_table(dit.config) + noise + _count(dit.proj_out))


def _count_left_of_dit(dit: Any) -> int:
    norms = _count(dit.transformer_blocks, lambda name, _: ".attn_norm." in name)
    return int(norms + _count(dit.time_embed) + _count(dit.norm_out) + _count(dit.input_embed))
