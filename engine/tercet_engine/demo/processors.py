"""The demo models' tokenizer, chat template and media processors, saved as a checkpoint holds them.

Used by the builder only. The template gives the same text as Qwen2.5-Omni's for the same messages.
"""

import json
from pathlib import Path
from typing import Any, Final

from transformers import (
    Qwen2_5OmniProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

from tercet_engine.demo.vocabulary import SPECIAL_TOKENS, TOKENS, byte_symbols

MOST_PIXELS: Final = 64 * 28 * 28
"""Largest picture, so that one stays within 64 tokens."""

CHAT_TEMPLATE: Final = """\
{%- macro media(part) -%}
  {%- if part.type == 'image' or part.type == 'image_url' -%}<|vision_bos|><|IMAGE|><|vision_eos|>
  {%- elif part.type == 'video' -%}<|vision_bos|><|VIDEO|><|vision_eos|>
  {%- elif part.type == 'audio' or part.type == 'audio_url' -%}<|audio_bos|><|AUDIO|><|audio_eos|>
  {%- else -%}{{- part.text -}}
  {%- endif -%}
{%- endmacro -%}
{%- if messages[0].role != 'system' -%}
  {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
  {{- '<|im_start|>' + message.role + '\\n' -}}
  {%- if message.content is string -%}{{- message.content -}}
  {%- else -%}{%- for part in message.content -%}{{- media(part) -}}{%- endfor -%}
  {%- endif -%}
  {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

_ENDS: Final = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
_ROLES: Final = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}


def write_processor(folder: Path) -> None:
    processor = Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(size=_pixels()),
        video_processor=Qwen2VLVideoProcessor(size=_pixels()),
        feature_extractor=_feature_extractor(),
        tokenizer=_tokenizer(),
        chat_template=CHAT_TEMPLATE,
    )
    processor.save_pretrained(folder)
    _write_preprocessor_config(folder, processor)


def _pixels() -> dict[str, int]:
    return {"shortest_edge": 4 * 28 * 28, "longest_edge": MOST_PIXELS}


def _tokenizer() -> Any:
    tokenizer = Qwen2Tokenizer(
        vocab={**byte_symbols(), **TOKENS},
        merges=[],
        extra_special_tokens=_ROLES,
        **_ENDS,
    )
    tokenizer.add_tokens(list(SPECIAL_TOKENS), special_tokens=True)
    return tokenizer


def _feature_extractor() -> Any:
    return WhisperFeatureExtractor(
        feature_size=128, sampling_rate=16_000, hop_length=160, n_fft=400, chunk_length=300, dither=0.0
    )


def _write_preprocessor_config(folder: Path, processor: Any) -> None:
    """The one file in which published checkpoints hold the picture and sound settings."""
    settings = {
        **processor.feature_extractor.to_dict(),
        **processor.image_processor.to_dict(),
        "feature_extractor_type": "WhisperFeatureExtractor",
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5OmniProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2, default=str) + "\n")
