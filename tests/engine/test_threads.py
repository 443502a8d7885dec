"""Threads that compute keep the number of cores that they were given."""

from concurrent.futures import ThreadPoolExecutor

import torch
from tercet_engine.threads import use_threads


def test_a_thread_keeps_its_count_when_another_asks_for_less() -> None:
    with ThreadPoolExecutor(1, initializer=use_threads, initargs=(2,)) as first:
        first.submit(int).result()
        with ThreadPoolExecutor(1, initializer=use_threads, initargs=(1,)) as second:
            assert second.submit(torch.get_num_threads).result() == 1
        assert first.submit(torch.get_num_threads).result() == 2
