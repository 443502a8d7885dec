"""The sizes of a Qwen2 decoder, read once from a checkpoint's config.

Used by the model and by the KV cache; knows nothing of weights.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderShape:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    epsilon: float
    context: int
    """Most positions of one turn."""

    @property
    def kv_values(self) -> int:
        """Values that one token keeps in the KV cache, all layers."""
        return self.layers * 2 * self.kv_heads * self.head_dim


# Any: transformers' config classes set their fields dynamically.
def read_shape(config: Any) -> DecoderShape:
    """Shape of a Qwen2_5OmniTextConfig or Qwen2_5OmniTalkerConfig."""
    if "sliding_attention" in config.layer_types or config.hidden_act != "silu":
        raise ValueError("only Qwen2 decoders with full attention and SiLU are served")
    return DecoderShape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        epsilon=config.rms_norm_eps,
        context=config.max_position_embeddings,
    )
