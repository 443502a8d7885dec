"""A reply as server-sent events: a turn's listener on one side, the client's socket on the other.

The chat route calls `stream_reply`. What the turn says is rendered at once and waits here until the socket
takes it, all of it in one write; how much sound may wait is bounded. The response begins with the first
delta, or with a heartbeat when the thinker takes long; what fails before is still an HTTP error.
"""

import asyncio
from typing import assert_never

from starlette.types import Send

from tercet_gateway.completions import render_usage
from tercet_gateway.conductor import Abandoned, Delta, Failed, Finished, Outcome, PcmDelta, TextDelta
from tercet_gateway.errors import GatewayError, error_body
from tercet_gateway.frames import DONE, PING, Frames
from tercet_gateway.metering import TurnMeter, audio_seconds
from tercet_gateway.tasks import Tasks
from tercet_gateway.turns import TurnRun

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """`hear`, then one of `finish` and `fail`; `send_all` runs beside them."""

    def __init__(
        self,
        send: Send,
        frames: Frames,
        meter: TurnMeter,
        *,
        include_usage: bool,
        slow_client_s: float,
        heartbeat_s: float,
    ) -> None:
        self._send = send
        self._frames = frames
        self._meter = meter
        self._include_usage = include_usage
        self._slow_client_s = slow_client_s
        self._heartbeat_s = heartbeat_s
        self._texts: list[str] = []
        self._ready: list[bytes] = []
        self._waiting_audio_s = 0.0
        self._opened = False
        self._closed = False
        self._wake = asyncio.Event()
        self.started = False

    @property
    def text(self) -> str:
        """All that was written so far."""
        return "".join(self._texts)

    def hear(self, delta: Delta) -> bool:
        self._open()
        match delta:
            case TextDelta():
                self._texts.append(delta.text)
                self._put(self._frames.text(delta.text, delta.logprobs))
            case PcmDelta():
                self._waiting_audio_s += audio_seconds(len(delta.pcm))
                self._meter.observe_buffer(self._waiting_audio_s)
                self._put(self._frames.sound(delta.pcm))
            case _:
                assert_never(delta)
        return self._waiting_audio_s <= self._slow_client_s

    def finish(self, finished: Finished) -> None:
        self._open()
        self._put(self._frames.sound_end())
        self._put(self._frames.finish(finished.finish_reason))
        if self._include_usage:
            self._put(self._frames.usage(render_usage(finished.usage)))
        self._put(DONE)
        self._close()

    def fail(self, error: GatewayError) -> None:
        """Mid-stream an event and the end; before the first byte nothing: then it is an HTTP error."""
        if self.started:
            self._put(self._frames.error(error_body(error)))
        else:
            self._ready.clear()
        self._close()

    async def send_all(self) -> None:
        """Send what there is until `finish` or `fail`, a heartbeat when there is nothing."""
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await self._wake.wait()
            except TimeoutError:
                if not self._closed:  # else, in this very moment: what follows the end must not begin it
                    self._ready.append(PING)
            self._wake.clear()
            await self._send_ready()
            if self._closed:
                break
        if self.started:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_ready(self) -> None:
        """Everything that waits, in one write; sound counts as waiting until the socket has taken it."""
        while self._ready:
            batch, self._ready = b"".join(self._ready), []
            audio_s, text = self._waiting_audio_s, bool(self._texts)
            if not self.started:
                self.started = True
                await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await self._send({"type": "http.response.body", "body": batch, "more_body": True})
            self._waiting_audio_s -= audio_s
            self._meter.hand_over(text=text, audio_s=audio_s)

    def _open(self) -> None:
        if not self._opened:
            self._opened = True
            self._put(self._frames.opening())

    def _close(self) -> None:
        self._closed = True
        self._wake.set()

    def _put(self, frame: bytes) -> None:
        if frame:
            self._ready.append(frame)
            self._wake.set()


async def stream_reply(turn: TurnRun, stream: EventStream, *, last_bytes_s: float) -> Outcome:
    """Run the turn and send it. GatewayError if it fails before the first byte."""
    async with Tasks() as tasks:
        sender = tasks.create_task(stream.send_all())
        outcome = await turn.run(stream)
        match outcome:
            case Finished():
                stream.finish(outcome)
            case Failed():
                stream.fail(outcome.error)
            case Abandoned():
                sender.cancel()
            case _:
                assert_never(outcome)
        _, late = await asyncio.wait({sender}, timeout=last_bytes_s)
        sender.cancel()
    if isinstance(outcome, Failed) and not stream.started:
        raise outcome.error
    return Abandoned("slow") if late else outcome
