"""What the DiT computes on in one step: the tensors of all windows, laid out in rows.

`dit` builds one per step. One of fixed shape is kept per number of rows and filled again, for a program that
was recorded over its tensors.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from tercet_engine.code2wav.dit_layers import Past
from tercet_engine.code2wav.rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """`noise` (rows, width, mel); `known` (c, rows, width, hidden), of the input projection.

    `past` and `kept` (windows that have one, evaluations, look-back layers, c, 24, 2, heads, d).
    """

    rows: Rows
    noise: torch.Tensor
    known: torch.Tensor
    past: torch.Tensor | None
    kept: torch.Tensor

    def iter_pasts(self, evaluation: int) -> Iterator[Past]:
        """For each look-back layer in turn."""
        for layer in range(self.kept.shape[2]):
            known = None if self.past is None else self.past[:, evaluation, layer]
            yield Past(known=known, kept=self.kept[:, evaluation, layer])

    def fill(self, other: "Batch") -> None:
        """Take over what `other` holds, of as many rows but for `past` and `kept`.

        Those are the same memory, and what is left there of earlier windows belongs to no row that counts.
        """
        for mine, given in zip(self._inputs(), other._inputs(), strict=True):
            if mine is not None and given is not None:
                mine[: len(given)].copy_(given)

    def _inputs(self) -> Iterator[torch.Tensor | None]:
        yield from (self.noise, self.known, self.rows.before, self.rows.after, self.rows.kept)
        yield from self.rows.masks.values()
