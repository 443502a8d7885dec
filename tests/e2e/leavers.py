"""Clients that leave: one for each phase of a turn, on the raw socket or through the SDK."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from openai import AsyncOpenAI

from tests.e2e.idle import IN_FLIGHT, read_metric, wait_until
from tests.e2e.replies import ENDLESS, SPOKEN, ask_about, hear
from tests.e2e.served import Served

LONG: dict[str, Any] = {**ask_about(text="Tell me a long story."), **ENDLESS, **SPOKEN, "max_tokens": 400}
"""A reply that takes seconds: nobody is done before the client has gone."""

Leave = Callable[[Served, AsyncOpenAI], Awaitable[None]]


async def leave_at_once(served: Served, _: AsyncOpenAI) -> None:
    """The turn has begun, and nothing of it is waited for."""
    await _send_and_close(served, LONG | {"stream": True})


async def leave_whole(served: Served, _: AsyncOpenAI) -> None:
    """The same where no byte would come before the end."""
    await _send_and_close(served, LONG)


async def leave_in_text(_: Served, sdk: AsyncOpenAI) -> None:
    await hear(sdk, LONG, until=lambda reply: bool(reply.text))


async def leave_in_sound(_: Served, sdk: AsyncOpenAI) -> None:
    await hear(sdk, LONG, until=lambda reply: bool(reply.pieces))


LEAVERS: dict[str, Leave] = {
    "before the first byte": leave_at_once,
    "in the text": leave_in_text,
    "in the sound": leave_in_sound,
    "while waiting for the whole": leave_whole,
}


async def _send_and_close(served: Served, body: dict[str, Any]) -> None:
    url = urlsplit(served.url)
    content = json.dumps(body).encode()
    head = [
        f"POST {url.path}/chat/completions HTTP/1.1",
        f"host: {url.netloc}",
        f"content-length: {len(content)}",
        "\r\n",
    ]
    _, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write("\r\n".join(head).encode() + content)
    await wait_until(lambda: read_metric(served, IN_FLIGHT) > 0)
    writer.close()
    await writer.wait_closed()
