"""Attention of a step's single rows straight over the KV blocks, by tables that lie on the device.

Used by the model where a layout has `Pages`. On a GPU the Triton language does it (`paged_kernel`), on a CPU
numba (`compiled_attention`). Nothing here depends on a turn's length on the host, so that a GPU's step can be
captured once and replayed.
"""

import logging
import os
import shutil
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Final

import torch

from tercet_engine.decoder.team import has_runtime

_log = logging.getLogger(__name__)

_SIZES: Final = (16, 32, 64, 128, 256)
"""Head sizes that the GPU's kernel takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Single rows of a step, one for each of several turns, on the device."""

    seats: torch.Tensor  # (turns,) int32, rows of the cache's tables
    lengths: torch.Tensor  # (turns,) int32, keys that each sees, its own included


def locate(pages: Pages, tables: torch.Tensor, block_tokens: int) -> torch.Tensor:
    """(turns,) int64: the slot where each row's keys and values are written."""
    at = (pages.lengths - 1).long()
    blocks = tables[pages.seats.long(), at // block_tokens].long()
    return blocks * block_tokens + at % block_tokens


def attend(queries: torch.Tensor, memory: torch.Tensor, tables: torch.Tensor, pages: Pages) -> torch.Tensor:
    """Queries (turns, heads, head dim) over one layer's memory (blocks, tokens, keys then values, head dim).

    `tables` (seats, blocks of a turn) int32. Returns the mixed values in the shape of the queries.
    """
    if queries.device.type == "cuda":
        from tercet_engine.decoder import paged_kernel  # noqa: PLC0415 - there is no Triton on a CPU's image

        return paged_kernel.attend(queries, memory, tables, pages.seats, pages.lengths)
    from tercet_engine.decoder import compiled_attention  # noqa: PLC0415 - compiles, and a GPU has no use for it

    return compiled_attention.attend(queries, memory, tables, pages)


def can_attend(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether single rows of this device go through a kernel."""
    if device.type == "cuda":
        return head_dim in _SIZES and _kernel_runs(device)
    if device.type != "cpu" or dtype != torch.float32:
        return False
    if has_runtime():
        return True
    _log.warning("decoding without compiled steps: torch does not compute with libgomp here")
    return False


@cache
def _kernel_runs(device: torch.device) -> bool:
    """Try it: the Triton language compiles on first use, which needs a C compiler and Python's headers."""
    has_compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if find_spec("triton") is None or not has_compiler:
        _log.warning("decoding without CUDA graphs: no Triton language, or no C compiler for it")
        return False
    one = torch.ones(1, dtype=torch.int32, device=device)
    row, memory = torch.ones(1, 2, 16, device=device), torch.ones(1, 4, 2, 16, device=device)
    try:
        mixed = attend(row, memory, one[None] - 1, Pages(seats=one - 1, lengths=one))
        return bool((mixed == 1).all())
    except Exception:  # noqa: BLE001 - a compiler may fail in many ways; the plain path serves as well
        _log.warning("decoding without CUDA graphs: the attention kernel does not compile", exc_info=True)
        return False
