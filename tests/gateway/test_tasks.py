"""Tasks that end together, and what their owner learns of it."""

import asyncio
from contextlib import suppress

import pytest
from tercet_gateway.tasks import Tasks


async def fail() -> None:
    raise ValueError("why")


async def run_beside_a_failure() -> None:
    async with Tasks() as tasks:
        tasks.create_task(fail())
        await asyncio.Event().wait()


async def test_first_failure_is_raised_as_it_is() -> None:
    """Not as a group of one."""
    with pytest.raises(ValueError, match="why"):
        await run_beside_a_failure()


async def test_cancellation_beside_a_failure_is_not_lost() -> None:
    """It comes while the failure waits for the other tasks to end, and reaches who survives the failure."""
    ending, ended = asyncio.Event(), asyncio.Event()

    async def end_slowly() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await ended.wait()

    async def survive() -> None:
        with suppress(ValueError):
            async with Tasks() as tasks:
                tasks.create_task(end_slowly())
                await asyncio.sleep(0)
                await fail()
        await asyncio.Event().wait()

    owner = asyncio.create_task(survive())
    await ending.wait()
    owner.cancel()
    await asyncio.sleep(0)
    ended.set()
    await asyncio.wait({owner}, timeout=5)
    assert owner.cancelled()
