"""POST /v1/chat/completions: read, check, run the turn, answer streamed or whole.

A bare ASGI endpoint: from the first byte of the body to the last of the reply it needs the raw `receive`, to
see a client leave while it waits, and one place in the count of turns.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from tercet_wire.messages import Turn

from tercet_gateway.clients import Client
from tercet_gateway.completions import Completion
from tercet_gateway.conductor import Conductor, Finished, Outcome
from tercet_gateway.conversation import read_conversation
from tercet_gateway.frames import Frames
from tercet_gateway.logs import log_event
from tercet_gateway.metering import TurnMeter, audio_seconds
from tercet_gateway.orders import Order, build_order
from tercet_gateway.schemas.chat import ChatRequest
from tercet_gateway.schemas.parsing import parse_chat_request
from tercet_gateway.services import Services
from tercet_gateway.streaming import EventStream, stream_reply
from tercet_gateway.transcripts import KEPT_S
from tercet_gateway.turns import TurnRun
from tercet_gateway.whole import Recording, render_recording, run_whole

_log: Final = logging.getLogger(__name__)
_LARGE_BODY_BYTES: Final = 256 * 1024
_SEED_BITS: Final = 63


class ChatCompletions:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received_s = time.monotonic()
        services: Services = scope["app"].state.services
        client = Client(scope, receive)
        with ExitStack() as place:
            reply = await _begin(services, client, place, received_s)
            if reply.order.stream:
                await _stream(services, reply, send)
            else:
                response = await _answer(services, reply)
                await response(scope, receive, send)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """A turn that is ready to run, and what its reply will look like."""

    order: Order
    turn: TurnRun
    completion: Completion
    meter: TurnMeter


async def _begin(services: Services, client: Client, place: ExitStack, received_s: float) -> _Reply:
    """The request ends here: its media would else stay in memory for as long as the turn goes on."""
    services.admission.check_place()
    with services.admission.hold_body() as hold:
        request = await _read_request(services, client, hold)
        place.enter_context(services.admission.admit())
        return await _prepare(services, client, request, place, received_s)


async def _read_request(services: Services, client: Client, hold: Callable[[int], None]) -> ChatRequest:
    settings = services.settings
    body = await client.read_body(settings.limits.body_bytes, settings.timeouts.body_s, hold)
    if len(body) <= _LARGE_BODY_BYTES:
        return parse_chat_request(body)
    return await asyncio.get_running_loop().run_in_executor(services.parsers, parse_chat_request, body)


async def _prepare(
    services: Services, client: Client, request: ChatRequest, place: ExitStack, received_s: float
) -> _Reply:
    served = services.catalog.find(request.model)
    served.check_open()
    order = build_order(request, served.model, drawn_seed=secrets.randbits(_SEED_BITS))
    spoken = order.speech is not None
    conversation = await client.wait_with(
        read_conversation(request, services.media, spoken, services.transcripts.recall)
    )
    meter = TurnMeter(services.metrics, served.model.id, received_s)
    meter.start(conversation.audio_input_s)
    turn_id = uuid4().hex
    turn = Turn(messages=conversation.messages, sampling=order.sampling, speech=order.speech)
    return _Reply(
        order=order,
        turn=TurnRun(
            turn_id,
            Conductor(turn_id, turn, pixels=conversation.pixels, samples=conversation.samples),
            stages=served.pool.pin(),
            client_left=client.leave,
            closing=services.closing,
            timeouts=services.settings.timeouts.outlasting(served.model.queue_s),
            observer=meter,
            hold=place.enter_context(services.replay_memory.open_turn()),
        ),
        completion=_build_completion(request.model, turn_id, spoken),
        meter=meter,
    )


def _build_completion(model: str, turn_id: str, spoken: bool) -> Completion:
    created = int(time.time())
    return Completion(
        id=f"chatcmpl-{turn_id}",
        model=model,
        created=created,
        audio_id=f"audio_{turn_id}" if spoken else None,
        expires_at=created + KEPT_S,
    )


async def _stream(services: Services, reply: _Reply, send: Send) -> None:
    settings = services.settings
    stream = EventStream(
        send,
        Frames(reply.completion, include_usage=reply.order.include_usage),
        reply.meter,
        include_usage=reply.order.include_usage,
        slow_client_s=settings.limits.slow_client_s,
        heartbeat_s=settings.timeouts.heartbeat_s,
    )
    outcome = await stream_reply(reply.turn, stream, last_bytes_s=settings.limits.slow_client_s)
    _conclude(services, reply, outcome, text=stream.text)


async def _answer(services: Services, reply: _Reply) -> Response:
    recording = Recording()
    finished = await run_whole(reply.turn, recording)
    body = await render_recording(recording, finished, reply.completion, reply.order.format)
    reply.meter.hand_over(text=True, audio_s=audio_seconds(len(recording.pcm)))
    _conclude(services, reply, finished, text=recording.text)
    return Response(body, media_type="application/json")


def _conclude(services: Services, reply: _Reply, outcome: Outcome, *, text: str) -> None:
    completion, meter = reply.completion, reply.meter
    if isinstance(outcome, Finished):
        meter.finish(outcome.usage, streamed=reply.order.stream)
        if completion.audio_id is not None:
            services.transcripts.remember(completion.audio_id, text, expires_at=completion.expires_at)
    log_event(
        _log,
        f"turn_{type(outcome).__name__.lower()}",
        completion=completion.id,
        model=completion.model,
        total_s=meter.elapsed_s(),
        first_text_s=meter.first_text_s,
        first_audio_s=meter.first_audio_s,
        audio_s=meter.audio_s,
    )
