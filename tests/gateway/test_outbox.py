"""What a stage is told, kept until it has answered."""

import asyncio

from tercet_gateway.outbox import Outbox
from tercet_gateway.stages.blobs import Blob, Tensors
from tercet_wire.names import Tensor


def request(number: int) -> Tensors:
    return {Tensor.TEXT: Blob(datatype="BYTES", shape=(1,), data=bytes([number]))}


async def take(outbox: Outbox, count: int) -> list[Tensors]:
    async with asyncio.timeout(5):
        return [await outbox.take() for _ in range(count)]


async def test_requests_come_in_order_and_again_after_a_rewind() -> None:
    """Before an answer nothing is lost."""
    outbox = Outbox(request(0))
    outbox.put(request(1))
    assert await take(outbox, 2) == [request(0), request(1)]
    outbox.rewind()
    outbox.put(request(2))
    assert await take(outbox, 3) == [request(0), request(1), request(2)]


async def test_only_what_was_taken_is_forgotten() -> None:
    """After the answer the rest still goes out, once."""
    outbox = Outbox(request(0))
    outbox.put(request(1))
    await take(outbox, 1)
    outbox.forget()
    assert not outbox.is_kept
    outbox.put(request(2))
    assert await take(outbox, 2) == [request(1), request(2)]


async def test_taker_waits_for_more() -> None:
    """An empty outbox holds its taker until something is put in."""
    outbox = Outbox(request(0))
    await take(outbox, 1)
    taking = asyncio.create_task(take(outbox, 1))
    await asyncio.sleep(0)
    assert not taking.done()
    outbox.put(request(1))
    assert await taking == [request(1)]


def test_outbox_is_bounded() -> None:
    """A stage that takes nothing is found out."""
    outbox = Outbox(request(0))
    room = 0
    while outbox.put(request(1)):
        room += 1
    assert room == 1023
