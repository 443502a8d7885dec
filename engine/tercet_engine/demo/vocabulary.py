"""The demo models' tokens: one per byte, and Qwen2.5-Omni's special tokens under small ids.

Read by `sizes` (ids in the config), `weights` (what may be said) and `processors` (the tokenizer's files).
"""

from typing import Final

BYTES: Final = 256

SPECIAL_TOKENS: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_bos|>",
    "<|vision_eos|>",
    "<|vision_pad|>",
    "<|IMAGE|>",
    "<|VIDEO|>",
    "<|tts_text_pad|>",
    "<|tts_text_bos|>",
    "<|tts_text_eos|>",
    "<|speaker_ethan|>",
    "<|speaker_chelsie|>",
)

TOKENS: Final = {token: BYTES + index for index, token in enumerate(SPECIAL_TOKENS)}
VOCABULARY_SIZE: Final = 288
"""Embedding rows, rounded up as in the real model: the last ids are no tokens."""

SPEAKERS: Final = {"Chelsie": TOKENS["<|speaker_chelsie|>"], "Ethan": TOKENS["<|speaker_ethan|>"]}


def byte_symbols() -> dict[str, int]:
    """The byte-level alphabet: each byte as one visible character, with the byte's value as its id.

    Printable Latin-1 stands for itself; the others are moved up past 255, in order.
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(BYTES, 2 * BYTES))
    return {chr(byte if byte in visible else next(hidden)): byte for byte in range(BYTES)}
