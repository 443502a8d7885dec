"""How big the demo models are: Qwen2.5-Omni's configuration with small numbers.

Read by `weights` and by the builder. What fixes the shape of data on the wire (codec vocabulary, mel bins,
upsampling, block length) is the real model's; only widths and depths are small.
"""

from dataclasses import dataclass
from typing import Any, Literal

from transformers import Qwen2_5OmniConfig

from tercet_engine.demo.vocabulary import TOKENS, VOCABULARY_SIZE

RandomDemo = Literal["tiny", "bench"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSize:
    """Width, depth and attention of thinker or talker; `sections` are the TMRoPE shares of half a head."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    sections: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSize:
    vocabulary: int
    thinker: DecoderSize
    talker: DecoderSize
    encoder_hidden: int
    dit_hidden: int
    dit_layers: int
    dit_heads: int
    look_ahead: tuple[int, ...]
    look_back: tuple[int, ...]
    speaker_dim: int
    vocoder_channels: int
    vocoder_kernels: tuple[int, ...]


SIZES: dict[RandomDemo, DemoSize] = {
    "tiny": DemoSize(
        vocabulary=VOCABULARY_SIZE,
        thinker=DecoderSize(
            hidden=96, layers=3, heads=6, kv_heads=2, head_dim=16, ffn=192, sections=(2, 3, 3)
        ),
        talker=DecoderSize(
            hidden=64, layers=2, heads=4, kv_heads=2, head_dim=32, ffn=128, sections=(4, 6, 6)
        ),
        encoder_hidden=32,
        dit_hidden=32,
        dit_layers=4,
        dit_heads=2,
        look_ahead=(2,),
        look_back=(0, 3),
        speaker_dim=16,
        vocoder_channels=64,
        vocoder_kernels=(3,),
    ),
    "bench": DemoSize(
        vocabulary=32_000,
        thinker=DecoderSize(
            hidden=512, layers=8, heads=8, kv_heads=2, head_dim=64, ffn=1536, sections=(8, 12, 12)
        ),
        talker=DecoderSize(
            hidden=384, layers=6, heads=6, kv_heads=2, head_dim=64, ffn=2048, sections=(8, 12, 12)
        ),
        encoder_hidden=128,
        dit_hidden=256,
        dit_layers=8,
        dit_heads=4,
        look_ahead=(4,),
        look_back=(0, 6),
        speaker_dim=64,
        vocoder_channels=256,
        vocoder_kernels=(3, 7),
    ),
}


def build_config(size: DemoSize) -> Qwen2_5OmniConfig:
    return Qwen2_5OmniConfig(
        thinker_config=_thinker(size),
        talker_config=_talker(size),
        token2wav_config={"dit_config": _dit(size), "bigvgan_config": _vocoder(size)},
    )


def _decoder(size: DecoderSize) -> dict[str, Any]:
    return {
        "hidden_size": size.hidden,
        "intermediate_size": size.ffn,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "head_dim": size.head_dim,
        "max_position_embeddings": 32_768,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1_000_000.0,
            "mrope_section": list(size.sections),
        },
    }


def _media_tokens() -> dict[str, int]:
    return {
        "audio_token_index": TOKENS["<|AUDIO|>"],
        "image_token_index": TOKENS["<|IMAGE|>"],
        "video_token_index": TOKENS["<|VIDEO|>"],
        "audio_start_token_id": TOKENS["<|audio_bos|>"],
        "audio_end_token_id": TOKENS["<|audio_eos|>"],
        "vision_start_token_id": TOKENS["<|vision_bos|>"],
        "vision_end_token_id": TOKENS["<|vision_eos|>"],
    }


def _thinker(size: DemoSize) -> dict[str, Any]:
    ends = {"eos_token_id": TOKENS["<|im_end|>"], "pad_token_id": TOKENS["<|endoftext|>"]}
    return {
        **_media_tokens(),
        **ends,
        "bos_token_id": TOKENS["<|im_start|>"],
        "vision_token_id": TOKENS["<|vision_pad|>"],
        "user_token_id": ord("u"),
        "text_config": {
            **_decoder(size.thinker),
            **ends,
            "vocab_size": size.vocabulary,
            "tie_word_embeddings": False,
        },
        "audio_config": {
            "d_model": size.encoder_hidden,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 2 * size.encoder_hidden,
            "output_dim": size.thinker.hidden,
        },
        "vision_config": {
            "depth": 2,
            "hidden_size": size.encoder_hidden,
            "intermediate_size": 2 * size.encoder_hidden,
            "num_heads": 2,
            "out_hidden_size": size.thinker.hidden,
            "fullatt_block_indexes": [1],
        },
    }


def _talker(size: DemoSize) -> dict[str, Any]:
    return {
        **_decoder(size.talker),
        **_media_tokens(),
        "vocab_size": 8448,
        "embedding_size": size.thinker.hidden,
        "tts_text_pad_token_id": TOKENS["<|tts_text_pad|>"],
        "tts_text_start_token_id": TOKENS["<|tts_text_bos|>"],
        "tts_text_end_token_id": TOKENS["<|tts_text_eos|>"],
    }


def _dit(size: DemoSize) -> dict[str, Any]:
    width = size.speaker_dim
    return {
        "hidden_size": size.dit_hidden,
        "num_hidden_layers": size.dit_layers,
        "num_attention_heads": size.dit_heads,
        "head_dim": size.dit_hidden // size.dit_heads,
        "emb_dim": size.dit_hidden,
        "look_ahead_layers": list(size.look_ahead),
        "look_backward_layers": list(size.look_back),
        "enc_dim": width,
        "enc_emb_dim": width,
        "enc_channels": [width, width, width, width, 3 * width],
        "enc_attention_channels": width,
        "enc_se_channels": width,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    }


def _vocoder(size: DemoSize) -> dict[str, Any]:
    return {
        "upsample_initial_channel": size.vocoder_channels,
        "resblock_kernel_sizes": list(size.vocoder_kernels),
        "resblock_dilation_sizes": [[1, 3, 5]] * len(size.vocoder_kernels),
    }
