"""The queue between watches and workers, with a clock of its own."""

import asyncio
import random
from collections import Counter

import pytest
from tercet_operator.queue import FIRST_RETRY_S, LONGEST_RETRY_S, WorkQueue

from tests.operator.fake_time import run_in_fake_time


def test_a_key_that_waits_is_not_added_again() -> None:
    """However much news there are; first come, first looked at."""

    async def work() -> list[str]:
        queue = WorkQueue[str]()
        for key in ("a", "b", "a", "c", "b"):
            queue.add(key)
        assert len(queue) == 3
        return [await queue.take() for _ in range(3)]

    assert run_in_fake_time(work()) == ["a", "b", "c"]


def test_what_was_asked_for_has_a_line_of_its_own() -> None:
    """A key that waited already moves there, and stays whatever else is heard of it."""

    async def work() -> tuple[list[str], list[str]]:
        queue = WorkQueue[str]()
        for key in ("a", "b", "c"):
            queue.add(key)
        queue.add("c", asked=True)
        queue.add("d", asked=True)
        queue.add("c")
        assert len(queue) == 4
        asked = [await queue.take(asked=True) for _ in range(2)]
        return asked, [await queue.take() for _ in range(2)]

    assert run_in_fake_time(work()) == (["c", "d"], ["a", "b"])


def test_what_was_asked_of_a_key_at_work_is_not_forgotten() -> None:
    """Whatever else is heard of it until it is done."""

    async def work() -> str:
        queue = WorkQueue[str]()
        queue.add("a")
        await queue.take()
        queue.add("a", asked=True)
        queue.add("a")
        queue.done("a")
        return await queue.take(asked=True)

    assert run_in_fake_time(work()) == "a"


def test_news_about_a_key_at_work_wait_until_it_is_done() -> None:
    """No second worker gets it; and it is not lost."""

    async def work() -> None:
        queue = WorkQueue[str]()
        queue.add("a")
        assert await queue.take() == "a"
        queue.add("a")
        queue.add("a")
        assert len(queue) == 0
        queue.done("a")
        assert len(queue) == 1
        assert await queue.take() == "a"
        queue.done("a")
        assert len(queue) == 0

    run_in_fake_time(work())


def test_a_worker_waits_for_news() -> None:
    """All that wait are woken, each gets a key of its own."""

    async def work() -> set[str]:
        queue = WorkQueue[str]()
        workers = [asyncio.create_task(queue.take()) for _ in range(3)]
        await asyncio.sleep(1)
        for key in "abc":
            queue.add(key)
        return set(await asyncio.gather(*workers))

    assert run_in_fake_time(work()) == {"a", "b", "c"}


def test_a_key_that_fails_comes_back_later_and_later() -> None:
    """Twice as long each time, spread over half of it, up to a bound."""

    async def work() -> list[float]:
        loop = asyncio.get_running_loop()
        queue = WorkQueue[str](clock=loop.time)
        queue.add("a")
        delays = []
        for _ in range(10):
            await queue.take()
            failed_at = loop.time()
            promised = queue.failed("a")
            delays.append(promised)
            assert len(queue) == 0
            await queue.take()
            assert loop.time() - failed_at == pytest.approx(promised)
            queue.add("a")
            queue.failed("a")
            await asyncio.sleep(LONGEST_RETRY_S)
        return delays

    for number, delay in enumerate(run_in_fake_time(work())):
        longest = min(LONGEST_RETRY_S, FIRST_RETRY_S * 4**number)
        assert longest / 2 <= delay <= longest


def test_news_do_not_bring_a_failed_key_back_sooner() -> None:
    """An object that changes all the time would else be tried all the time."""

    async def work() -> None:
        queue = WorkQueue[str]()
        queue.add("a")
        await queue.take()
        queue.add("a")
        queue.failed("a")
        queue.add("a")
        assert len(queue) == 0
        await asyncio.sleep(FIRST_RETRY_S)
        assert len(queue) == 1

    run_in_fake_time(work())


def test_an_edit_brings_a_failed_key_back_at_once() -> None:
    """It may be what corrects it; the time of the failure does not come as well."""

    async def work() -> None:
        queue = WorkQueue[str]()
        queue.add("a")
        await queue.take()
        queue.failed("a")
        queue.add("a", asked=True)
        assert await queue.take(asked=True) == "a"
        queue.done("a")
        await asyncio.sleep(LONGEST_RETRY_S)
        assert len(queue) == 0

    run_in_fake_time(work())


def test_a_cleared_queue_holds_nothing() -> None:
    """Neither what waits nor what is at work, nor what has failed."""

    async def work() -> None:
        queue = WorkQueue[str]()
        for key in ("at work", "failed", "waits"):
            queue.add(key)
        assert await queue.take() == "at work"
        assert await queue.take() == "failed"
        queue.failed("failed")
        queue.clear()
        await asyncio.sleep(LONGEST_RETRY_S)
        assert len(queue) == 0
        queue.add("at work")
        assert await queue.take() == "at work"

    run_in_fake_time(work())


def test_what_succeeds_is_forgiven() -> None:
    """The next failure starts with the shortest wait again."""

    async def work() -> float:
        queue = WorkQueue[str]()
        for end in (queue.failed, queue.failed, queue.failed, queue.done):
            queue.add("a")
            await queue.take()
            end("a")
            await asyncio.sleep(LONGEST_RETRY_S)
        queue.add("a")
        await queue.take()
        return queue.failed("a")

    assert run_in_fake_time(work()) <= FIRST_RETRY_S


def test_lag_is_the_wait_of_the_first() -> None:
    """0 when nobody waits."""

    async def work() -> list[float]:
        queue = WorkQueue[str](clock=asyncio.get_running_loop().time)
        lags = [queue.lag_s]
        queue.add("a")
        await asyncio.sleep(3)
        queue.add("b")
        queue.add("a")
        lags.append(queue.lag_s)
        await queue.take()
        await asyncio.sleep(2)
        lags.append(queue.lag_s)
        return lags

    assert run_in_fake_time(work()) == pytest.approx([0.0, 3.0, 2.0])


def test_a_queue_is_idle_only_while_keys_wait_and_none_is_taken() -> None:
    """A long line that moves is not."""

    async def work() -> list[float]:
        queue = WorkQueue[str](clock=asyncio.get_running_loop().time)
        await asyncio.sleep(50)
        idle = [queue.idle_s]
        for key in "abc":
            queue.add(key)
        await asyncio.sleep(4)
        idle.append(queue.idle_s)
        await queue.take()
        await asyncio.sleep(1)
        idle.append(queue.idle_s)
        return idle

    assert run_in_fake_time(work()) == pytest.approx([0.0, 4.0, 1.0])


@pytest.mark.parametrize("seed", range(20))
def test_no_two_workers_have_the_same_key_and_no_news_are_lost(seed: int) -> None:
    """Eight workers, five keys, failures: after the last news each key is looked at once more."""

    async def work() -> None:
        chance = random.Random(seed)
        queue = WorkQueue[int]()
        at_work: Counter[int] = Counter()
        news: Counter[int] = Counter()
        seen: Counter[int] = Counter()

        async def look(*, asked: bool) -> None:
            while True:
                key = await queue.take(asked=asked)
                at_work[key] += 1
                assert at_work[key] == 1
                seen[key] = news[key]
                await asyncio.sleep(chance.random())
                at_work[key] -= 1
                if chance.random() < 0.3:
                    seen[key] = -1
                    queue.failed(key)
                else:
                    queue.done(key)

        workers = [asyncio.create_task(look(asked=bool(number % 2))) for number in range(8)]
        for _ in range(300):
            key = chance.randrange(5)
            news[key] += 1
            queue.add(key, asked=chance.random() < 0.5)
            await asyncio.sleep(chance.random() / 10)
        await asyncio.sleep(600)
        assert seen == news
        for worker in workers:
            assert not worker.done(), worker
            worker.cancel()

    run_in_fake_time(work())
