"""A client that leaves while it is being waited for."""

import asyncio

import pytest
from starlette.types import Message
from tercet_gateway.clients import Client, ClientGone
from tercet_gateway.errors import RequestError


class Wire:
    """What `receive` gives: these messages, then the disconnect once `left` is set."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.left = asyncio.Event()

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop(0)
        await self.left.wait()
        return {"type": "http.disconnect"}

    def client(self, **headers: str) -> Client:
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return Client({"type": "http", "headers": raw}, self.receive)


def part(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_work_ends_when_the_client_leaves() -> None:
    """What is being done for nobody is cancelled at once."""
    wire, begun, cancelled = Wire(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def leave() -> None:
        await begun.wait()
        wire.left.set()

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(leave())
        with pytest.raises(ClientGone):
            await wire.client().wait_with(work())
    assert cancelled.is_set()


async def test_result_and_failure_come_through_as_they_are() -> None:
    """A failure is caught by its own type, not as a group."""

    async def work(fail: bool) -> str:
        await asyncio.sleep(0)
        if fail:
            raise RequestError("no")
        return "done"

    client = Wire().client()
    assert await client.wait_with(work(fail=False)) == "done"
    with pytest.raises(RequestError):
        await client.wait_with(work(fail=True))


async def test_body_is_joined() -> None:
    """Parts come in any cut, and each is counted as it comes."""
    held: list[int] = []
    wire = Wire(part(b"ab", more=True), part(b"", more=True), part(b"c", more=False))
    assert await wire.client().read_body(3, 5, held.append) == b"abc"
    assert held == [2, 0, 1]


async def test_body_that_does_not_come_is_408() -> None:
    """A slow sender does not hold its place for ever."""
    with pytest.raises(RequestError) as refused:
        await Wire(part(b"a", more=True)).client().read_body(10, 0.01, lambda _: None)
    assert refused.value.status == 408


async def test_declared_length_is_refused_before_it_is_read() -> None:
    """Nothing is taken off the wire for it."""
    wire = Wire(part(b"a", more=False))
    with pytest.raises(RequestError) as refused:
        await wire.client(content_length="11").read_body(10, 5, lambda _: None)
    assert refused.value.status == 413
    assert wire.messages
