"""Threads that compute keep the number of cores that they were given."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tercet_engine.threads import SharedThreads, use_threads


def test_a_thread_keeps_its_count_when_another_asks_for_less() -> None:
    with ThreadPoolExecutor(1, initializer=use_threads, initargs=(2,)) as first:
        first.submit(int).result()
        with ThreadPoolExecutor(1, initializer=use_threads, initargs=(1,)) as second:
            assert second.submit(torch.get_num_threads).result() == 1
        assert first.submit(torch.get_num_threads).result() == 2


def test_the_first_instance_has_all_threads_while_the_others_have_nothing_to_do() -> None:
    shared = SharedThreads(1)
    first, second = shared.join(), shared.join()
    assert shared.count(first) == 2
    shared.tell(second, busy=True)
    assert shared.count(first) == 1
    shared.tell(second, busy=False)
    assert shared.count(first) == 2


def test_no_other_instance_ever_has_more_than_its_own() -> None:
    """Two teams of workers would be more than the cores."""
    shared = SharedThreads(1)
    first, second = shared.join(), shared.join()
    shared.tell(first, busy=False)
    assert shared.count(second) == 1


@pytest.mark.parametrize("instances", [1, 2])
def test_who_has_several_threads_keeps_to_them(instances: int) -> None:
    """The other's workers stay, whether it computes or not."""
    shared = SharedThreads(3)
    assert [shared.count(shared.join()) for _ in range(instances)] == [3] * instances
