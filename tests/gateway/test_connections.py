"""Connections that never get to a whole request: each costs little memory and little time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from tercet_gateway.connections import HEAD_BYTES, BoundedHttp

from tests.gateway.conftest import Gateway, build_settings, serve_gateway
from tests.gateway.fake_triton import FakeTriton

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\n"
ENDLESS = {
    "many headers": (HEAD, b"X-A: b\r\n" * 1000),
    "one header": (HEAD + b"X-A: ", b"a" * 8000),
    "an address": (b"GET /", b"a" * 8000),
    "many trailers": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", b"X-A: b\r\n" * 1000),
}


@asynccontextmanager
async def connect(gateway: Gateway) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def flood(writer: asyncio.StreamWriter, begin: bytes, more: bytes) -> None:
    with suppress(ConnectionError):
        writer.write(begin)
        for _ in range(100 * HEAD_BYTES // len(more)):
            writer.write(more)
            await writer.drain()


@pytest.mark.parametrize("case", ENDLESS)
async def test_what_is_not_body_has_a_bound(gateway: Gateway, case: str) -> None:
    """The gateway hangs up; without that, it would keep all of it and wait for more."""
    begin, more = ENDLESS[case]
    async with asyncio.timeout(10), connect(gateway) as (reader, writer), asyncio.TaskGroup() as tasks:
        tasks.create_task(flood(writer, begin, more))
        with suppress(ConnectionError):
            await reader.read()
    assert (await gateway.http.get("/healthz")).status_code == 200


async def test_request_that_does_not_come_is_not_waited_for(triton: FakeTriton) -> None:
    """Before the first request, and after a response; a request in time is served."""

    class Hasty(BoundedHttp):
        head_s = 0.1

    async with serve_gateway(build_settings(triton.endpoint), http=Hasty) as gateway, asyncio.timeout(10):
        async with connect(gateway) as (reader, writer):
            writer.write(HEAD)
            assert await reader.read() == b""
        async with connect(gateway) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\nGET")
            assert b"200 OK" in await reader.read()
