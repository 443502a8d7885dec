"""The stream of events by itself: what must hold however its two sides meet."""

import asyncio

from starlette.types import Message
from tercet_gateway.completions import Completion
from tercet_gateway.errors import internal_error
from tercet_gateway.frames import Frames
from tercet_gateway.metering import TurnMeter
from tercet_gateway.metrics import Metrics
from tercet_gateway.streaming import EventStream


async def test_failure_in_the_moment_of_a_heartbeat_begins_no_response() -> None:
    """Else neither the HTTP error nor an error event would be sent: the reply would look like a whole one."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    stream = EventStream(
        send,
        Frames(Completion(id="c", model="m", created=0), include_usage=False),
        TurnMeter(Metrics(), "m", 0.0),
        include_usage=False,
        slow_client_s=1,
        heartbeat_s=0,
    )
    sending = asyncio.create_task(stream.send_all())
    await asyncio.sleep(0)  # it waits, and its time is up
    await asyncio.sleep(0)  # the timeout has struck, and it has not yet taken notice
    stream.fail(internal_error())
    await sending
    assert (sent, stream.started) == ([], False)
