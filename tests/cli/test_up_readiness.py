"""Waiting for what runs on this machine."""

import asyncio

import pytest
from tercet_cli.readiness import wait_ready


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy does not know what listens on this machine, and `up` would wait in vain."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    reports: list[str] = []
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, asyncio.timeout(10):
        port = server.sockets[0].getsockname()[1]
        await wait_ready({"thinker": f"http://127.0.0.1:{port}/ready"}, report=reports.append)
    assert reports == ["  thinker is ready"]
