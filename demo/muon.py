"""Muon (Jordan et al. 2024), in the precision that the device multiplies fast, equal shapes together.

torch's own multiplies in bfloat16 one matrix at a time, on a CPU without such products for seconds a step.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn

_MOMENTUM: Final = 0.95
_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose repetition takes all singular values near 1."""
_REPETITIONS: Final = 5
_LIKE_ADAMW: Final = 0.2
"""Root mean square of an update of AdamW's, so that its rates and decay fit (Liu et al. 2025)."""


class Muon(torch.optim.Optimizer):
    """For parameters of two dimensions."""

    def __init__(
        self, matrices: Iterable[nn.Parameter], *, lr: float, decay: float, dtype: torch.dtype
    ) -> None:
        super().__init__(matrices, {"lr": lr, "decay": decay})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        del closure
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for each in group["params"]:
                if each.grad is not None:
                    alike[each.shape].append(each)
            for shape, matrices in alike.items():
                updates = orthogonalise(
                    torch.stack([self._gather(each) for each in matrices]).to(self._dtype)
                )
                rate = group["lr"] * _LIKE_ADAMW * max(shape) ** 0.5
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["decay"])
                torch._foreach_add_(matrices, updates.to(matrices[0].dtype).unbind(), alpha=-rate)

    def _gather(self, matrix: Tensor) -> Tensor:
        """The gradient with Nesterov's momentum."""
        assert matrix.grad is not None
        held = self.state[matrix]
        if not held:
            held["momentum"] = torch.zeros_like(matrix)
        momentum: Tensor = held["momentum"]
        momentum.lerp_(matrix.grad, 1 - _MOMENTUM)
        return matrix.grad.lerp(momentum, _MOMENTUM)


def orthogonalise(matrices: Tensor) -> Tensor:
    """(count, rows, columns): each with all its singular values near 1, by Newton and Schulz's repetition."""
    is_tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if is_tall else matrices
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_REPETITIONS):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if is_tall else wide
