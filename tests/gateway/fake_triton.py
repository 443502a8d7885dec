"""A declared fake: a Triton server over real gRPC whose three stages play from a script.

The thinker says its pieces, the talker answers each request with a batch of codes, code2wav turns each code
into 480 samples of that value, so that a test can tell which code it hears. A stage can be told to fail or to
hang after some messages. Every call is recorded, with the moment its client cancelled it.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from tercet_wire.messages import StageEvent, StageFailure, TokenLogprob, Turn, Usage
from tercet_wire.names import SAMPLES_PER_CODE, Stage, Tensor
from tritonclient.grpc.service_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelReadyResponse,
    ModelStreamInferResponse,
)
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

ROW_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One message of the thinker; it makes `rows` rows of states."""

    text: str = ""
    rows: int = 1
    prompt_rows: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


def _at_once() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(frozen=True, kw_only=True)
class Fault:
    """After so many messages: fail with this text once `when` is set, or with None hang until cancelled.

    `dies`: the whole server does, with all its calls.
    """

    after: int
    text: str | None = None
    dies: bool = False
    when: asyncio.Event = field(default_factory=_at_once)


@dataclass
class Call:
    stage: Stage
    requests: list[Any] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    answered: bool = False
    """The final response has been sent."""

    def inputs(self, name: Tensor) -> list[bytes]:
        """What each request that has this tensor holds of it."""
        found = (read_tensor(request, name) for request in self.requests)
        return [data for data in found if data is not None]

    def turn(self) -> Turn:
        return Turn.model_validate_json(self.inputs(Tensor.TURN)[0][4:])


def read_tensor(request: ModelInferRequest, name: Tensor) -> bytes | None:
    for tensor, data in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.name == name:
            return bytes(data)
    return None


def pcm_of(codes: list[int]) -> bytes:
    return b"".join(struct.pack("<h", code) * SAMPLES_PER_CODE for code in codes)


def failure(kind: Any, message: str = "why", param: str | None = None) -> str:
    return StageFailure(type=kind, message=message, param=param).model_dump_json()


class ClientLeft(Exception):  # noqa: N818 - not an error of the fake
    """The requests ended before their last."""


class FakeTriton(GRPCInferenceServiceServicer):  # type: ignore[misc] # grpc has no types
    """`pieces`, `batches` and `faults` are the script of every turn."""

    def __init__(self) -> None:
        self.pieces = [Piece(text="Hel", prompt_rows=3, rows=4), Piece(text="lo"), Piece(text=" you")]
        self.batches = [[1, 2], [3, 4, 5], [6]]
        self.finish_reason: Any = "stop"
        self.faults: dict[Stage, Fault] = {}
        self.unready: set[str] = set()
        self.calls: list[Call] = []
        self.called = asyncio.Condition()
        self.endpoint = ""
        self.server: Any = None
        self.death: asyncio.Task[None] | None = None

    # --- what tests ask -------------------------------------------------------------------------

    async def wait_for(self, *stages: Stage) -> list[Call]:
        """The first call to each of these stages, as soon as there is one."""
        async with asyncio.timeout(10), self.called:
            await self.called.wait_for(lambda: {call.stage for call in self.calls} >= set(stages))
        return [self.call(stage) for stage in stages]

    def call(self, stage: Stage) -> Call:
        return next(call for call in self.calls if call.stage is stage)

    async def wait_until_cancelled(self, *stages: Stage) -> None:
        for call in await self.wait_for(*stages):
            async with asyncio.timeout(10):
                await call.done.wait()
            assert not call.answered, call.stage

    async def stop(self) -> None:
        await self.server.stop(None)

    # --- the service ----------------------------------------------------------------------------

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        return ModelReadyResponse(ready=request.name not in self.unready)

    async def ModelStreamInfer(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        call: Call | None = None
        try:
            first = await anext(aiter(request_iterator))
            call = Call(Stage(first.model_name), [first])
            async with self.called:
                self.calls.append(call)
                self.called.notify_all()
            requests = _recorded(call, request_iterator)
            async for response in self._with_faults(call, requests):
                yield response
            async for _ in requests:
                continue
        except ClientLeft:
            return
        finally:
            if call is not None:
                call.done.set()

    async def _with_faults(self, call: Call, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        fault = self.faults.get(call.stage)
        said = 0
        async for response in self._script(call, requests):
            if fault is not None and said == fault.after:
                await fault.when.wait()
                if fault.dies:
                    self.death = asyncio.create_task(self.stop())
                if fault.text is None:
                    await asyncio.Event().wait()
                yield ModelStreamInferResponse(error_message=fault.text)
                return
            call.answered = not response.infer_response.outputs
            yield response
            said += 1

    async def _script(self, call: Call, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for response in self._play(call, requests):
            yield response
        yield _final(call.requests[0])

    def _play(self, call: Call, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        match call.stage:
            case Stage.THINKER:
                return self._think(call)
            case Stage.TALKER:
                return self._talk(call, requests)
            case Stage.CODE2WAV:
                return self._sound(call, requests)

    async def _think(self, call: Call) -> AsyncIterator[Any]:
        """Its last message holds no text and no states, only the flag, the usage and the reason."""
        spoken = call.turn().speech is not None
        for piece in self.pieces:
            rows = piece.rows if spoken else 0
            yield _response(
                call.requests[0],
                {
                    Tensor.TEXT: _text(piece.text),
                    Tensor.STATES: ("UINT8", (rows, ROW_BYTES), piece.text.encode()[:1] * rows * ROW_BYTES),
                    Tensor.POSITIONS: ("INT32", (3, piece.prompt_rows), bytes(12 * piece.prompt_rows)),
                    Tensor.LAST: _flag(False),
                    Tensor.EVENT: _event(StageEvent(logprobs=piece.logprobs)),
                },
            )
        usage = Usage(prompt_tokens=10, prompt_audio_tokens=4, completion_tokens=len(self.pieces))
        yield _response(
            call.requests[0],
            {
                Tensor.TEXT: _text(""),
                Tensor.LAST: _flag(True),
                Tensor.EVENT: _event(StageEvent(finish_reason=self.finish_reason, usage=usage)),
            },
        )

    async def _talk(self, call: Call, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """A batch for each request; what is left once the states are complete."""
        batches = iter(self.batches)
        async for request in _after(call.requests[0], requests):
            for batch in batches if _is_last(request) else _some(batches, 1):
                yield _response(call.requests[0], {Tensor.CODES: _codes(batch), Tensor.LAST: _flag(False)})
            if _is_last(request):
                break
        usage = Usage(codes=sum(map(len, self.batches)))
        event = _event(StageEvent(finish_reason="stop", usage=usage))
        yield _response(call.requests[0], {Tensor.LAST: _flag(True), Tensor.EVENT: event})

    async def _sound(self, call: Call, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in _after(call.requests[0], requests):
            data = read_tensor(request, Tensor.CODES) or b""
            pcm = pcm_of(list(struct.unpack(f"<{len(data) // 4}i", data)))
            last = _is_last(request)
            if pcm or last:
                tensors = {Tensor.PCM: ("INT16", (len(pcm) // 2,), pcm), Tensor.LAST: _flag(last)}
                yield _response(call.requests[0], tensors)
            if last:
                return


@asynccontextmanager
async def serve_fake_triton(endpoint: str = "127.0.0.1:0") -> AsyncIterator[FakeTriton]:
    fake = FakeTriton()
    server = fake.server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    add_GRPCInferenceServiceServicer_to_server(fake, server)
    fake.endpoint = f"127.0.0.1:{server.add_insecure_port(endpoint)}"
    await server.start()
    try:
        yield fake
    finally:
        await fake.stop()


# --- requests and responses -------------------------------------------------------------------

_Packed = tuple[str, tuple[int, ...], bytes]


async def _recorded(call: Call, requests: Any) -> AsyncIterator[Any]:
    async for request in requests:
        call.requests.append(request)
        yield request


async def _after(first: Any, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """All requests of a turn; a stage stops asking once it has had the last."""
    yield first
    async for request in requests:
        yield request
    raise ClientLeft


def _some(batches: Iterator[list[int]], count: int) -> Iterator[list[int]]:
    for _, batch in zip(range(count), batches, strict=False):
        yield batch


def _is_last(request: Any) -> bool:
    return read_tensor(request, Tensor.LAST) == b"\x01"


def _text(text: str) -> _Packed:
    data = text.encode()
    return ("BYTES", (1,), struct.pack("<I", len(data)) + data)


def _event(event: StageEvent) -> _Packed:
    return _text(event.model_dump_json())


def _flag(flag: bool) -> _Packed:
    return ("BOOL", (1,), bytes([flag]))


def _codes(codes: list[int]) -> _Packed:
    return ("INT32", (len(codes),), struct.pack(f"<{len(codes)}i", *codes))


def _response(request: Any, tensors: dict[Tensor, _Packed]) -> Any:
    response = ModelInferResponse(model_name=request.model_name, id=request.id)
    for name, (datatype, shape, data) in tensors.items():
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        response.raw_output_contents.append(data)
    return ModelStreamInferResponse(infer_response=response)


def _final(request: Any) -> Any:
    """The empty final response, which Triton sends only to those who ask for it."""
    assert request.parameters["triton_enable_empty_final_response"].bool_param
    response = ModelInferResponse(model_name=request.model_name, id=request.id)
    response.parameters["triton_final_response"].bool_param = True
    return ModelStreamInferResponse(infer_response=response)
