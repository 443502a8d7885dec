"""What a stage is told, kept so that another replica can be told the same."""

import asyncio

from tercet_gateway.outbox import Outbox
from tercet_gateway.replay_memory import ReplayMemory
from tercet_gateway.settings import Limits
from tercet_gateway.stages.blobs import Blob, Tensors
from tercet_wire.names import Tensor


def request(number: int) -> Tensors:
    """One byte."""
    return {Tensor.TEXT: Blob(datatype="BYTES", shape=(1,), data=bytes([number]))}


def fits(_: int) -> bool:
    return True


def is_too_much(_: int) -> bool:
    return False


async def take(outbox: Outbox, count: int) -> list[Tensors]:
    async with asyncio.timeout(5):
        return [await outbox.take() for _ in range(count)]


async def test_requests_come_in_order_and_again_after_a_rewind() -> None:
    """Also once the stage has answered."""
    outbox = Outbox(request(0), fits)
    outbox.put(request(1))
    assert await take(outbox, 2) == [request(0), request(1)]
    outbox.settle()
    outbox.rewind()
    outbox.put(request(2))
    assert await take(outbox, 3) == [request(0), request(1), request(2)]
    assert outbox.is_kept


async def test_what_does_not_fit_is_kept_until_the_stage_answers() -> None:
    """Then what was taken is gone, and the rest still goes out, once."""
    outbox = Outbox(request(0), is_too_much)
    outbox.put(request(1))
    await take(outbox, 1)
    outbox.rewind()
    assert await take(outbox, 1) == [request(0)]
    outbox.settle()
    assert not outbox.is_kept
    outbox.put(request(2))
    assert await take(outbox, 2) == [request(1), request(2)]


async def test_taker_waits_for_more() -> None:
    """An empty outbox holds its taker until something is put in."""
    outbox = Outbox(request(0), fits)
    await take(outbox, 1)
    taking = asyncio.create_task(take(outbox, 1))
    await asyncio.sleep(0)
    assert not taking.done()
    outbox.put(request(1))
    assert await taking == [request(1)]


def fill(outbox: Outbox) -> int:
    room = 0
    while outbox.put(request(1)):
        room += 1
    return room


async def test_outbox_is_bounded() -> None:
    """A stage that takes nothing is found out; what is taken a second time takes no room from the new."""
    outbox = Outbox(request(0), fits)
    assert fill(outbox) == 1023
    await take(outbox, 1000)
    assert fill(outbox) == 1000
    outbox.rewind()
    await take(outbox, 10)
    assert fill(outbox) == 0


async def test_room_is_given_back() -> None:
    """By an outbox that is closed or keeps nothing, and by a turn that ends."""
    memory = ReplayMemory(Limits(replay_bytes=3, replays_bytes=5))
    with memory.open_turn() as hold, memory.open_turn() as other:
        first, second = Outbox(request(0), hold), Outbox(request(0), hold)
        first.put(request(1))
        assert memory.held_bytes == 3
        second.put(request(1))
        second.settle()
        assert (first.is_kept, second.is_kept, memory.held_bytes) == (True, False, 2)
        assert other(3)
        assert not other(1)
        first.close()
        assert memory.held_bytes == 3
        assert hold(2)
    assert memory.held_bytes == 0
