"""Attention of a step's single rows straight over the KV blocks, by tables that lie on the device.

Used by the model where a layout has `Pages`. On a GPU the Triton language does it (`paged_kernel`); the same
in torch gathers whole tables, and stands for it on a CPU, where tests compare the two. Nothing here depends
on a turn's length on the host, so a step can be captured once and replayed.
"""

import logging
import os
import shutil
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Final

import torch
from torch.nn import functional

_log = logging.getLogger(__name__)

_SIZES: Final = (16, 32, 64, 128, 256)
"""Head sizes that the kernel takes."""


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
    return _attend_in_torch(queries, memory, tables, pages)


def _attend_in_torch(
    queries: torch.Tensor, memory: torch.Tensor, tables: torch.Tensor, pages: Pages
) -> torch.Tensor:
    turns, heads, dim = queries.shape
    kv_heads = memory.shape[2] // 2
    kept = memory[tables[pages.seats.long()].long()].flatten(1, 2).transpose(1, 2)
    is_seen = torch.arange(kept.shape[2], device=queries.device) < pages.lengths[:, None]
    kept = kept.where(is_seen[:, None, :, None], kept.new_zeros(()))  # what lies beyond may be no number
    query = queries.reshape(turns, kv_heads, heads // kv_heads, dim)
    mixed = functional.scaled_dot_product_attention(
        query, kept[:, :kv_heads], kept[:, kv_heads:], attn_mask=is_seen[:, None, None]
    )
    return mixed.reshape(turns, heads, dim)


def can_attend(device: torch.device, head_dim: int) -> bool:
    """Whether single rows of this device go through the kernel."""
    return device.type == "cuda" and head_dim in _SIZES and _kernel_runs(device)


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
