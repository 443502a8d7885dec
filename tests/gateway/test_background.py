"""Work that runs beside the app."""

import asyncio
import signal

import pytest
from tercet_gateway.background import beside

from tests.gateway.conftest import eventually


async def test_work_ends_with_the_block() -> None:
    """Cancelled and awaited: nothing of it is left."""
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended = True

    async with beside(work()):
        await asyncio.sleep(0)
    assert ended


async def test_work_that_crashes_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    """As SIGTERM does, so that running turns end in peace; the log says why."""
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)

    async def work() -> None:
        raise ZeroDivisionError

    async with beside(work()):
        await eventually(terminated.is_set)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    assert "background_crashed" in caplog.text
