"""TMRoPE: the angles by which queries and keys are turned, and the turning.

Used by the model; compiled steps do the same with its numbers.
"""

from typing import Any, Final

import torch

from tercet_engine.decoder.shape import read_shape

_SECTIONS: Final = (16, 24, 24)
"""Of `mrope_section`, where a config leaves it out."""


class Rotary:
    """Multimodal rotary angles: each section of dimensions follows one of the three position rows."""

    def __init__(self, config: Any, device: torch.device) -> None:
        rope = config.rope_parameters
        if rope["rope_type"] != "default":
            raise ValueError(f"rope_type {rope['rope_type']!r} is not served, only 'default'")
        dim = read_shape(config).head_dim
        exponents = torch.arange(0, dim, 2, dtype=torch.float32) / dim
        self.frequencies = (1.0 / rope["rope_theta"] ** exponents).to(device)  # (dim / 2,)
        sections = [i % 3 for i, size in enumerate(rope.get("mrope_section", _SECTIONS)) for _ in range(size)]
        if len(sections) != dim // 2:
            raise ValueError(f"mrope_section has to add up to half of head_dim {dim}, not to {len(sections)}")
        self.sections = torch.tensor(sections, device=device)  # (dim / 2,)

    def angles(self, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines, and sines with the sign of the rotation, (rows, 1, head_dim)."""
        angle = positions[self.sections].T.float() * self.frequencies
        cos, sin = angle.cos(), angle.sin()
        cos, sin = torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)
        return cos.to(dtype)[:, None], sin.to(dtype)[:, None]


def rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """Rotate (rows, heads, head_dim) in place."""
    halves = heads.view(*heads.shape[:-1], 2, -1)
    swapped = halves.flip(-2).view(heads.shape)
    heads.mul_(cos).addcmul_(swapped, sin)
