"""Runs the attention kernel in Triton's interpreter; `test_paged` starts this with TRITON_INTERPRET=1."""

import torch
from tercet_engine.decoder import paged_kernel

from tests.engine.paging import draw_pages, expect


def main() -> None:
    paged_kernel._PROGRAMS = 16  # the interpreter runs one after the other
    for kv_heads, shared, dim, block_tokens in (
        (1, 1, 16, 16),
        (2, 3, 32, 5),
        (1, 7, 64, 16),
        (1, 20, 16, 1),
    ):
        drawn = draw_pages(kv_heads=kv_heads, shared=shared, dim=dim, block_tokens=block_tokens)
        pages = drawn.pages
        mixed = paged_kernel.attend(drawn.queries, drawn.memory, drawn.tables, pages.seats, pages.lengths)
        torch.testing.assert_close(mixed, expect(drawn), rtol=1e-4, atol=1e-4)
        print("the same")


if __name__ == "__main__":
    main()
