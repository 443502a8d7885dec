"""Keys and values of turns that lie scattered in blocks, for tests of attention by tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tercet_engine.decoder.blocks import BlockPool
from tercet_engine.decoder.paged import Pages
from torch.nn import functional

LENGTHS = (1, 37, 200, 64, 5)


def take_blocks(pool: BlockPool, tokens: int) -> tuple[int, ...]:
    return pool.take(tokens).blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    queries: torch.Tensor  # (turns, heads, dim)
    memory: torch.Tensor  # (blocks, tokens, keys then values, dim)
    tables: torch.Tensor
    pages: Pages

    def to(self, device: torch.device, dtype: torch.dtype) -> "Drawn":
        pages = Pages(seats=self.pages.seats.to(device), lengths=self.pages.lengths.to(device))
        queries, memory = self.queries.to(device, dtype), self.memory.to(device, dtype)
        return Drawn(queries=queries, memory=memory, tables=self.tables.to(device), pages=pages)


def draw_pages(
    *,
    kv_heads: int,
    shared: int,
    dim: int,
    block_tokens: int,
    seed: int = 0,
    lengths: Sequence[int] = LENGTHS,
) -> Drawn:
    """Memory that no turn may look at holds what is no number."""
    generator = torch.Generator().manual_seed(seed)
    needed = [-(-length // block_tokens) for length in lengths]
    blocks = sum(needed) + 3
    order = torch.randperm(blocks, generator=generator, dtype=torch.int32)
    tables = order[-1].repeat(len(lengths) + 2, max(needed))
    memory = torch.full((blocks, block_tokens, 2 * kv_heads, dim), float("nan"))
    turns = len(lengths)
    seats = torch.randperm(turns + 2, generator=generator, dtype=torch.int32)[:turns]
    taken = 0
    for seat, length, count in zip(seats.tolist(), lengths, needed, strict=True):
        tables[seat, :count] = order[taken : taken + count]
        rows = torch.randn(length, 2 * kv_heads, dim, generator=generator)
        kept = torch.cat([rows, torch.full((count * block_tokens - length, 2 * kv_heads, dim), float("nan"))])
        memory[tables[seat, :count].long()] = kept.view(count, block_tokens, 2 * kv_heads, dim)
        taken += count
    # As the model cuts them: queries are the first heads of wider rows.
    queries = torch.randn(turns, kv_heads * (shared + 2), dim, generator=generator)[:, : kv_heads * shared]
    pages = Pages(seats=seats, lengths=torch.tensor(lengths, dtype=torch.int32))
    return Drawn(queries=queries, memory=memory, tables=tables, pages=pages)


def expect(drawn: Drawn) -> torch.Tensor:
    """Turn by turn, by torch's own attention over the turn's keys in a row."""
    rows = []
    kv_heads = drawn.memory.shape[2] // 2
    seats, lengths = drawn.pages.seats.tolist(), drawn.pages.lengths.tolist()
    for turn, (seat, length) in enumerate(zip(seats, lengths, strict=True)):
        kept = drawn.memory[drawn.tables[seat].long()].flatten(0, 1)[:length].transpose(0, 1)
        query = drawn.queries[turn][:, None]  # (heads, 1, dim)
        keys, values = kept[:kv_heads], kept[kv_heads:]
        mixed = functional.scaled_dot_product_attention(
            query[None], keys[None], values[None], enable_gqa=kv_heads < len(query)
        )
        rows.append(mixed[0, :, 0])
    return torch.stack(rows)
