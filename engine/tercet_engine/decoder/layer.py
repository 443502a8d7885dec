"""One layer's weights, joined into as few products as there can be.

Used by the model and by compiled steps.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from tercet_wire.settings import Quantization

from tercet_engine.decoder.linear import Linear
from tercet_engine.decoder.product import build_product


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear
    norm_in: torch.Tensor
    norm_mlp: torch.Tensor


def build_layer(weights: dict[str, torch.Tensor], index: int, quantization: Quantization) -> Layer:
    """Takes the layer's weights out of the dictionary."""
    build = partial(build_product, quantization=quantization)

    def taken(name: str) -> torch.Tensor:
        return weights.pop(f"layers.{index}.{name}")

    def stacked(kind: str, names: Iterable[str]) -> torch.Tensor:
        return torch.cat([taken(f"{name}_proj.{kind}") for name in names])

    attention = [f"self_attn.{name}" for name in "qkv"]
    return Layer(
        qkv=build(stacked("weight", attention), stacked("bias", attention)),
        out=build(stacked("weight", ["self_attn.o"])),
        gate_up=build(stacked("weight", ["mlp.gate", "mlp.up"])),
        down=build(stacked("weight", ["mlp.down"])),
        norm_in=taken("input_layernorm.weight"),
        norm_mlp=taken("post_attention_layernorm.weight"),
    )
