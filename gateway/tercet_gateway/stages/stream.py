"""One bidirectional ModelStreamInfer call to one replica: how a turn talks to a stage.

`pool` opens it, `turns` writes and reads it. It uses the raw stub: tritonclient's own wrapper cannot ask for
the empty final response and costs more a message. Leaving a grpc.aio stream does not cancel it, so whoever
opens one closes it; after the final response `close` lets the server end it in peace.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from pydantic import ValidationError
from tercet_wire.messages import StageFailure
from tercet_wire.names import Stage
from tritonclient.grpc.service_pb2 import ModelStreamInferResponse

from tercet_gateway.errors import GatewayError, internal_error, stage_error, unavailable_error
from tercet_gateway.stages.blobs import Tensors
from tercet_gateway.stages.messages import StageMessage
from tercet_gateway.stages.tensors import (
    ask_for_final_response,
    build_request,
    is_final,
    parse_response,
)

_LAST_WORDS_S: Final = 1.0
"""How long the server may take to end a call whose final response has come."""
_LOST: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,  # not by us: a server that shuts down
        grpc.StatusCode.UNKNOWN,  # "Stream removed"
        grpc.StatusCode.INTERNAL,  # it ended under a write, or was reset
    }
)
"""How a call ends whose server does; what is wrong with a turn comes as a response."""


class StageStream:
    """The first request opens the turn; its id marks the responses that belong to the turn itself."""

    def __init__(self, stage: Stage, turn_id: str, call: Any) -> None:  # grpc has no types
        self._stage = stage
        self._turn_id = turn_id
        self._call = call

    async def open(self, tensors: Tensors) -> None:
        request = build_request(self._stage, self._turn_id, tensors)
        ask_for_final_response(request)
        await self._call.write(request)

    async def feed(self, tensors: Tensors) -> None:
        await self._call.write(build_request(self._stage, f"{self._turn_id}/more", tensors))

    async def messages(self) -> AsyncIterator[StageMessage]:
        """What the stage says, until its final response. Raises GatewayError."""
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                if response.error_message:
                    raise parse_failure(response.error_message)
                answer = response.infer_response
                if answer.outputs:
                    yield self._parse(response)
                if answer.id == self._turn_id and is_final(answer):
                    return
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from error
        raise unavailable_error(f"{self._stage}: the call ended without a final response")

    async def close(self) -> None:
        """After the final response: say that nothing follows, and wait for the server's end."""
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._call.done_writing()
                while await self._call.read() is not grpc.aio.EOF:
                    pass
        except (TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
            self._call.cancel()

    def _parse(self, response: ModelStreamInferResponse) -> StageMessage:
        try:
            return parse_response(self._stage, response.infer_response)
        except ValueError as error:
            raise internal_error(f"{self._stage}: {error}") from error


def parse_failure(text: str) -> GatewayError:
    """A stage says why in a StageFailure; any other text is Triton's own: the stage is gone, or going."""
    try:
        return stage_error(StageFailure.model_validate_json(text))
    except ValidationError:
        return unavailable_error(text)


def call_error(error: grpc.aio.AioRpcError) -> GatewayError:
    detail = f"{error.code()}: {error.details()}"
    return unavailable_error(detail) if error.code() in _LOST else internal_error(detail)
