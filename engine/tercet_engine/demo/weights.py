"""Seeded random weights that behave: printable replies that end, speech as long as its text, audible sound.

Used by the builder only. Random layers alone would babble for ever, so a few residual dimensions are kept
out of their reach and carry marks instead; one attention head in each decoder reads them:

- thinker: `START` marks the begin of a message and `FULL_STOP` the end of a sentence. The reply may end
  after a sentence, and hardly does while the last message start is near.
- talker: `SILENT` marks input after the text has run out and `SPOKEN` every step. The end code wins when
  about three quarters of the steps were silent: some four codes for each token of text.
"""

import math
import string
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import Qwen2_5OmniForConditionalGeneration

from tercet_engine.demo.sizes import DemoSize, build_config
from tercet_engine.demo.vocabulary import TOKENS

CONSTANT, SILENT, SPOKEN, FULL_STOP, START, VERDICT, MEDIA = range(7)
"""The marks' dimensions. CONSTANT makes a bias of a head's column, VERDICT is what the watching head says."""
RESERVED: Final = 7

CODES: Final = 8193
END_CODE: Final = 8294

_CONSTANT_VALUE: Final = 4.0
_NEVER: Final = -12.0
"""Head weight on CONSTANT that puts a token some forty logits below the others."""
_LETTER_BIAS: Final = {" ": 0.9, **dict.fromkeys(string.ascii_lowercase, 0.7), **dict.fromkeys(".!?", 0.8)}
_OTHER_BIAS: Final = -0.7
_EAGERNESS: Final = 1.8
"""Length of a head's rows: the spread of the logits that they give."""
_FOCUS: Final = 2.0
_CONTEXT: Final = 3.0
"""Attention picks single tokens and weighs more than by default, so that greedy text does not just loop."""
_LIVELINESS: Final = 2.0
_LOUDNESS: Final = 0.15
"""Of the vocoder's layers and of its last one: an rms of about 0.1."""


def build_model(size: DemoSize, seed: int = 7) -> Qwen2_5OmniForConditionalGeneration:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = Qwen2_5OmniForConditionalGeneration(build_config(size)).eval()
        for module in model.modules():
            _draw(module)
        _shape_encoders(model.thinker.model)
        _shape_thinker(model.thinker)
        _shape_talker(model.talker)
        _shape_sound(model.token2wav)
        for decoder in (model.thinker, model.talker):
            _round(decoder)
    return model


def _round(module: nn.Module) -> None:
    """To 16 bits, which is what published weights have, though files keep 32 for any reader's sake."""
    for parameter in module.parameters():
        parameter.copy_(parameter.bfloat16())


def build_speakers(size: DemoSize, bos_tokens: dict[str, int]) -> dict[str, dict[str, Any]]:
    """What `spk_dict.pt` holds: per voice its token, its embedding and a second or so of reference mel."""
    generator = torch.Generator().manual_seed(11)
    return {
        name: {
            "bos_token": token,
            "cond": torch.randn(1, size.speaker_dim, generator=generator),
            "ref_mel": torch.randn(1, 120, 80, generator=generator) - 5.0,
        }
        for name, token in bos_tokens.items()
    }


def _draw(module: nn.Module) -> None:
    match module:
        case nn.Linear():
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.02)
        case nn.Embedding():
            nn.init.normal_(module.weight)
        case nn.Conv1d() | nn.ConvTranspose1d() | nn.Conv3d():
            # The model's own default of 0.02 leaves the vocoder silent after its twenty layers.
            module.reset_parameters()
        case _:
            pass


def _shape_encoders(thinker: Any) -> None:
    """Media embeddings carry the constant and one mark of their own."""
    for last in (thinker.audio_tower.proj, thinker.visual.merger.mlp[-1]):
        last.weight[:RESERVED] = 0
        last.bias[:RESERVED] = 0
        last.bias[CONSTANT] = _CONSTANT_VALUE
        last.bias[MEDIA] = 2


def _fence_marks(layers: Any) -> None:
    """No layer reads or writes the marks by chance."""
    for layer in layers:
        attention, mlp = layer.self_attn, layer.mlp
        attention.q_proj.weight.mul_(_FOCUS)
        attention.k_proj.weight.mul_(_FOCUS)
        attention.o_proj.weight.mul_(_CONTEXT)
        for reader in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
            reader.weight[:, :RESERVED] = 0
        for writer in (attention.o_proj, mlp.down_proj):
            writer.weight[:RESERVED] = 0


def _shape_thinker(thinker: Any) -> None:
    text = thinker.model.language_model
    _fence_marks(text.layers)
    embeddings = text.embed_tokens.weight
    embeddings[:, :RESERVED] = 0
    embeddings[:, CONSTANT] = _CONSTANT_VALUE
    silence = embeddings[TOKENS["<|tts_text_pad|>"]]
    silence[RESERVED:] *= math.sqrt(2)  # as strong as an embedding and a state together
    silence[SILENT] = 1
    embeddings[[ord(mark) for mark in ".!?"], FULL_STOP] = 2
    embeddings[TOKENS["<|im_start|>"], START] = 10
    text.norm.weight[[SILENT, SPOKEN]] = 0  # so that the talker finds these marks in embeddings only
    _watch_message_start(text.layers[0].self_attn)
    _shape_lm_head(thinker.lm_head.weight, embeddings)


def _shape_lm_head(head: Tensor, embeddings: Tensor) -> None:
    head[:, :RESERVED] = 0
    own = embeddings.clone()
    own[:, :RESERVED] = 0
    head.sub_(own / own.norm(dim=-1, keepdim=True))  # a symbol seldom follows itself
    head.mul_(_EAGERNESS / head.norm(dim=-1, keepdim=True))  # no symbol is the favourite of every state
    head[:, CONSTANT] = _NEVER
    for symbol in string.printable[:95]:
        head[ord(symbol), CONSTANT] = _LETTER_BIAS.get(symbol, _OTHER_BIAS)
    end = TOKENS["<|im_end|>"]
    head[end] = 0
    head[end, CONSTANT] = -12.0
    head[end, FULL_STOP] = 44.0
    head[end, VERDICT] = -40.0


def _watch_message_start(attention: Any) -> None:
    """The first head looks back with a soft window of some thirty tokens for a message start.

    Constant queries and keys in one rotary pair score cos(frequency * distance): a bell around the present.
    Media are not looked at, as their many tokens share few positions.
    """
    pair = _pair_near(attention, frequency=0.0056)
    window = 30 * _frequency(attention, pair)
    strength = math.sqrt(math.sqrt(attention.head_dim)) / window
    _blank_head(attention)
    attention.q_proj.bias[pair] = strength
    attention.k_proj.bias[pair] = strength
    still = attention.head_dim // 2 - 1
    attention.q_proj.bias[still] = 10
    attention.k_proj.weight[still, MEDIA] = -10
    attention.v_proj.weight[0, START] = 1
    attention.o_proj.weight[VERDICT, 0] = 4


def _shape_talker(talker: Any) -> None:
    layers = talker.model.layers
    _fence_marks(layers)
    embeddings = talker.model.embed_tokens.weight
    embeddings[:, :RESERVED] = 0
    embeddings[:CODES, SPOKEN] = 1
    embeddings[talker.config.tts_codec_start_token_id, SPOKEN] = 1
    _shape_projection(talker.thinker_to_talker_proj)
    _watch_silence(layers[0].self_attn)
    norms = [norm for layer in layers for norm in (layer.input_layernorm, layer.post_attention_layernorm)]
    for norm in (*norms, talker.model.norm):
        norm.weight[RESERVED:] = 2.5  # what the strong constant takes away
    _shape_codec_head(talker.codec_head.weight)


def _shape_projection(projection: nn.Linear) -> None:
    projection.weight.mul_(0.5)
    projection.weight[:, :RESERVED] = 0
    projection.weight[:RESERVED] = 0
    projection.bias[:RESERVED] = 0
    # Most of a step's norm, so that all steps weigh alike when silence is averaged.
    projection.bias[CONSTANT] = 2 * math.sqrt(projection.out_features)
    for mark in (SILENT, SPOKEN):
        projection.weight[mark, mark] = 1


def _watch_silence(attention: Any) -> None:
    """The first head averages silence over the spoken steps alone, however long the prompt is."""
    pair = attention.head_dim // 2 - 1  # turns so slowly that distance does not count
    _blank_head(attention)
    attention.q_proj.bias[pair] = 10
    attention.k_proj.weight[pair, SPOKEN] = 10
    attention.v_proj.weight[0, SILENT] = 1
    attention.v_proj.weight[0, SPOKEN] = -0.72
    attention.o_proj.weight[VERDICT, 0] = 4


def _shape_codec_head(head: Tensor) -> None:
    head[:, :RESERVED] = 0
    head.mul_(_EAGERNESS / head.norm(dim=-1, keepdim=True))
    head[CODES:, CONSTANT] = _NEVER
    head[END_CODE] = 0
    head[END_CODE, VERDICT] = 3000


def _blank_head(attention: Any) -> None:
    """Clear the first query head and the key and value head it reads, as far as the marks need it."""
    rows = slice(0, attention.head_dim)
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight[rows] = 0
        projection.bias[rows] = 0
    attention.v_proj.weight[0] = 0
    attention.v_proj.bias[0] = 0
    heads_on_value = attention.num_key_value_groups
    attention.o_proj.weight[:, [head * attention.head_dim for head in range(heads_on_value)]] = 0


def _frequency(attention: Any, pair: int) -> float:
    return float(attention.rope_parameters["rope_theta"] ** (-2 * pair / attention.head_dim))


def _pair_near(attention: Any, frequency: float) -> int:
    pairs = range(attention.head_dim // 2)
    return min(pairs, key=lambda pair: abs(math.log(_frequency(attention, pair) / frequency)))


def _shape_sound(token2wav: Any) -> None:
    """Lively layers, and a last one that passes no direct current."""
    vocoder = token2wav.code2wav_bigvgan_model
    for layer in (vocoder.conv_pre, *(up[0] for up in vocoder.ups)):
        layer.weight.mul_(_LIVELINESS)
    last = vocoder.conv_post.weight
    last.sub_(last.mean(dim=-1, keepdim=True)).mul_(_LOUDNESS)
