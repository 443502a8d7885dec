"""How big the demo's model is: Qwen2.5-Omni's configuration with small numbers, 20 million parameters."""

from typing import Final

from tercet_engine.demo.sizes import DecoderSize, DemoSize, build_config
from tercet_engine.demo.vocabulary import VOCABULARY_SIZE
from transformers import Qwen2_5OmniConfig

SIZE: Final = DemoSize(
    vocabulary=VOCABULARY_SIZE,
    thinker=DecoderSize(
        hidden=256, layers=6, heads=4, kv_heads=2, head_dim=64, ffn=768, sections=(8, 12, 12)
    ),
    talker=DecoderSize(hidden=256, layers=6, heads=4, kv_heads=2, head_dim=64, ffn=704, sections=(8, 12, 12)),
    encoder_hidden=128,
    dit_hidden=128,
    dit_layers=8,
    dit_heads=4,
    look_ahead=(4,),
    look_back=(0, 6),
    speaker_dim=32,
    vocoder_channels=256,
    vocoder_kernels=(7,),
)


def build_demo_config() -> Qwen2_5OmniConfig:
    config = build_config(SIZE)
    config.token2wav_config.dit_config.dropout = 0.0
    return config
