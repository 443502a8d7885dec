"""Triton's own streaming protocol, as plainly as possible: the tests' second opinion beside the gateway's.

One `Stream` is one bidirectional ModelStreamInfer call. An answer is either tensors, or a failure; the last
one of each request is marked as final.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tercet_wire.messages import StageFailure
from tercet_wire.names import Tensor
from tritonclient.grpc import service_pb2
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

ANSWER_S = 60


@dataclass(frozen=True, kw_only=True)
class Answer:
    request: str
    final: bool
    failure: StageFailure | None
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)

    def text(self, name: Tensor) -> str:
        return bytes(self.tensors[name][0]).decode()


class Stream:
    # Any: a gRPC call object has no public type that says what it carries.
    def __init__(self, call: Any, model: str) -> None:
        self._call = call
        self._model = model
        self._sent = 0

    async def ask(self, **tensors: Any) -> str:
        """Send one request and return its id."""
        self._sent += 1
        await self._call.write(build_request(self._model, str(self._sent), tensors))
        return str(self._sent)

    async def read(self) -> Answer:
        async with asyncio.timeout(ANSWER_S):
            return parse_answer(await self._call.read())

    async def read_until_final(self, request: str = "1") -> list[Answer]:
        """The answers to one request, the final one included; those to others are passed over."""
        answers: list[Answer] = []
        while not answers or not answers[-1].final:
            answer = await self.read()
            if answer.request == request:
                answers.append(answer)
        return answers

    async def read_rest(self) -> list[Answer]:
        """Say that nothing more is asked, and take what still comes."""
        await self._call.done_writing()
        answers: list[Answer] = []
        async with asyncio.timeout(ANSWER_S):
            while (response := await self._call.read()) is not grpc.aio.EOF:
                answers.append(parse_answer(response))
        return answers

    def cancel(self) -> None:
        self._call.cancel()


@dataclass(frozen=True)
class Triton:
    stub: GRPCInferenceServiceStub

    @asynccontextmanager
    async def stream(self, model: str) -> AsyncIterator[Stream]:
        call = self.stub.ModelStreamInfer()
        try:
            yield Stream(call, model)
        finally:
            call.cancel()


@asynccontextmanager
async def open_triton(address: str) -> AsyncIterator[Triton]:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield Triton(GRPCInferenceServiceStub(channel))


def build_request(model: str, request: str, tensors: dict[str, Any]) -> Any:
    message = service_pb2.ModelInferRequest(model_name=model, id=request)
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    for name, value in tensors.items():
        values = np.array([value.encode()], np.object_) if isinstance(value, str) else np.atleast_1d(value)
        message.inputs.add(name=name, datatype=np_to_triton_dtype(values.dtype), shape=values.shape)
        raw = serialize_byte_tensor(values).item() if values.dtype == np.object_ else values.tobytes()
        message.raw_input_contents.append(raw)
    return message


def parse_answer(response: Any) -> Answer:
    inferred = response.infer_response
    tensors = {
        output.name: _read_values(output, raw)
        for output, raw in zip(inferred.outputs, inferred.raw_output_contents, strict=True)
    }
    return Answer(
        request=inferred.id,
        final=inferred.parameters["triton_final_response"].bool_param,
        failure=StageFailure.model_validate_json(response.error_message) if response.error_message else None,
        tensors=tensors,
    )


def _read_values(output: Any, raw: bytes) -> NDArray[Any]:
    if output.datatype == "BYTES":
        return np.asarray(deserialize_bytes_tensor(raw)).reshape(tuple(output.shape))
    return np.frombuffer(raw, triton_to_np_dtype(output.datatype)).reshape(tuple(output.shape))
