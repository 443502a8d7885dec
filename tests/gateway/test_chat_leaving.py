"""A client that leaves, or takes nothing, frees all its stages at once, wherever the turn stands."""

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest
from tercet_gateway.settings import Limits
from tercet_wire.names import Stage

from tests.gateway.conftest import MODEL, Gateway, eventually
from tests.gateway.fake_triton import FakeTriton, Fault

QUESTION: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
SPOKEN: dict[str, Any] = {
    **QUESTION,
    "modalities": ["text", "audio"],
    "audio": {"voice": "Ethan", "format": "pcm16"},
}


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """The client goes once it has read `sign` and the stages in `held`, which hang, have been asked."""

    body: dict[str, Any]
    held: dict[Stage, Fault]
    sign: bytes = b""
    phase: str = "pre_first_byte"


LEAVING = {
    "streamed, before the first byte": Leaving(
        body={**QUESTION, "stream": True}, held={Stage.THINKER: Fault(after=0)}
    ),
    "streamed, in the text": Leaving(
        body={**SPOKEN, "stream": True},
        held={Stage.THINKER: Fault(after=2), Stage.TALKER: Fault(after=0), Stage.CODE2WAV: Fault(after=0)},
        sign=b'"transcript":"lo"',
        phase="streaming",
    ),
    "streamed, in the sound": Leaving(
        body={**SPOKEN, "stream": True},
        held={Stage.CODE2WAV: Fault(after=1)},
        sign=b'"data":"',
        phase="streaming",
    ),
    "whole, in the text": Leaving(body=QUESTION, held={Stage.THINKER: Fault(after=1)}),
    "whole, in the sound": Leaving(
        body=SPOKEN, held={Stage.TALKER: Fault(after=1), Stage.CODE2WAV: Fault(after=1)}
    ),
}


async def open_request(
    gateway: Gateway, body: dict[str, Any], *, receive_buffer: int | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    connection = socket.socket()
    connection.setblocking(False)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", gateway.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**16)
    content = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize("case", LEAVING)
async def test_client_that_leaves_frees_its_stages(gateway: Gateway, triton: FakeTriton, case: str) -> None:
    """Every stage that still runs sees its call cancelled, and the turn is counted as left."""
    leaving = LEAVING[case]
    triton.faults.update(leaving.held)
    reader, writer = await open_request(gateway, leaving.body)
    async with asyncio.timeout(10):
        if leaving.sign:
            await reader.readuntil(leaving.sign)
        await triton.wait_for(*leaving.held)
    writer.close()
    await writer.wait_closed()
    await triton.wait_until_cancelled(*leaving.held)
    counted = {"model": MODEL, "phase": leaving.phase}
    await eventually(lambda: gateway.count("cancelled_requests_total", **counted) == 1)
    await eventually(lambda: gateway.count("in_flight_requests") == 0)


async def test_client_that_leaves_in_its_own_body_is_noticed(gateway: Gateway, triton: FakeTriton) -> None:
    """Its bytes are let go, and no stage was asked."""
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Length: 900\r\n\r\n{")
    await writer.drain()
    await eventually(lambda: gateway.count("held_body_bytes") == 1)
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: gateway.count("held_body_bytes") == 0)
    assert triton.calls == []


async def test_client_that_takes_no_sound_is_cut_off(
    triton: FakeTriton, serve: Callable[..., AbstractAsyncContextManager[Gateway]]
) -> None:
    """Once more sound waits than the budget allows, the stages are freed and the connection ends."""
    triton.batches = [[1] * 500] * 60  # ten minutes
    async with serve(limits=Limits(slow_client_s=2.0)) as gateway:
        _, writer = await open_request(gateway, {**SPOKEN, "stream": True}, receive_buffer=4096)
        await triton.wait_until_cancelled(Stage.CODE2WAV)
        await eventually(lambda: gateway.count("slow_client_aborts_total", model=MODEL) == 1)
        await eventually(lambda: gateway.count("in_flight_requests") == 0)
        writer.transport.abort()
