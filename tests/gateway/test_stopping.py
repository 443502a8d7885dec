"""A gateway that stops, and turns that do not end in the time they are given."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest
from tercet_gateway.settings import Timeouts
from tercet_wire.names import Stage

from tests.gateway.conftest import MODEL, Gateway
from tests.gateway.fake_triton import FakeTriton, Fault

SPOKEN: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Hi"}],
    "modalities": ["text", "audio"],
    "audio": {"voice": "Ethan", "format": "pcm16"},
    "stream": True,
}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where the turn hangs, what its client has read by then, and what comes with the error."""

    stage: Stage
    said: int
    sign: bytes
    beside: bytes


STANDINGS = {
    "before the first byte": Standing(stage=Stage.THINKER, said=0, sign=b"", beside=b"HTTP/1.1 503"),
    "in the sound": Standing(stage=Stage.CODE2WAV, said=1, sign=b'"data":"', beside=b'data: {"error"'),
}


@pytest.mark.parametrize("case", STANDINGS)
async def test_turn_that_does_not_end_is_told(
    triton: FakeTriton, serve: Callable[..., AbstractAsyncContextManager[Gateway]], case: str
) -> None:
    """By the envelope, instead of being cut off; and its stages are freed."""
    standing = STANDINGS[case]
    triton.faults[standing.stage] = Fault(after=standing.said)
    content = json.dumps(SPOKEN).encode()
    async with asyncio.timeout(20):
        async with serve(timeouts=Timeouts(connect_s=1, drain_s=0)) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n" % len(content) + content)
            await writer.drain()
            if standing.sign:
                await reader.readuntil(standing.sign)
            await triton.wait_for(standing.stage)
        rest = await reader.read()
        await triton.wait_until_cancelled(standing.stage)
        writer.close()
    assert standing.beside in rest
    assert b'"code":"upstream_unavailable"' in rest
