"""Waits until URLs answer 200. Used by `up`; which process serves them is `supervision`'s business."""

import asyncio
from collections.abc import Mapping
from typing import Final

import httpx

from tercet_cli.errors import CommandError
from tercet_cli.supervision import Report

READY_S: Final = 900.0
"""For a big checkpoint from a slow disk; a server that dies ends the wait at once."""
POLL_S: Final = 0.1
ANSWER_S: Final = 5.0


async def wait_ready(urls: Mapping[str, str], *, report: Report) -> None:
    """`urls` by the name of what they tell about."""
    try:
        async with asyncio.timeout(READY_S), _open_client() as client:
            for name, url in urls.items():
                await _wait_one(client, url)
                report(f"  {name} is ready")
    except TimeoutError as error:
        raise CommandError(f"not ready after {READY_S:g} s: see the logs named above") from error


def _open_client() -> httpx.AsyncClient:
    """Without the environment's proxies: what it asks runs on this machine."""
    return httpx.AsyncClient(timeout=ANSWER_S, trust_env=False)


async def _wait_one(client: httpx.AsyncClient, url: str) -> None:
    while not await _is_ready(client, url):  # noqa: ASYNC110  # another process's state sends no event
        await asyncio.sleep(POLL_S)


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        response = await client.get(url)
    except httpx.TransportError:
        return False
    return response.is_success
