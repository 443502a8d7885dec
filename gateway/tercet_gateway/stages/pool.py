"""The replicas of a deployment's stages: which one takes a turn, and whether they serve.

`turns` asks for a stream to a stage and gets one from the replica that carries the fewest turns of ours; the
turn is counted as long as the stream is held. A replica that cannot be reached, or refuses, is asked last
for a while.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

import grpc
from tercet_wire.names import Stage
from tritonclient.grpc.service_pb2 import ModelReadyRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tercet_gateway.errors import ReplicaRefused, unavailable_error
from tercet_gateway.settings import Deployment
from tercet_gateway.stages.stream import StageStream

_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A connection of its own for each replica object, and word of a dead peer within seconds.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Replicas are neighbours; a proxy that the environment names is for the world outside.
    ("grpc.enable_http_proxy", 0),
)
_REST_S: Final = 2.0
"""How long a replica is asked last that could not be reached or refused a turn."""
_READY_S: Final = 2.0


class ReplicaUnreachable(Exception):  # noqa: N818 - never leaves this module
    """No connection in time, or refused."""


class Replica:
    """One Triton server as host of one stage."""

    def __init__(self, stage: Stage, endpoint: str) -> None:
        self._stage = stage
        self._channel = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
        self._stub = GRPCInferenceServiceStub(self._channel)
        self._rests_until_s = 0.0
        self._turns = 0
        self._taken = 0

    def rank(self, now_s: float) -> tuple[bool, int, int]:
        """Lowest first: not resting, least loaded, least often asked."""
        return (self.rests(now_s), self._turns, self._taken)

    def rests(self, now_s: float) -> bool:
        return now_s < self._rests_until_s

    @asynccontextmanager
    async def stream(self, turn_id: str, connect_s: float) -> AsyncIterator[StageStream]:
        """Counts as a turn from the first attempt to connect, so that a burst spreads."""
        call = self._stub.ModelStreamInfer()
        self._turns += 1
        self._taken += 1
        try:
            await self._connect(call, connect_s)
            yield StageStream(self._stage, turn_id, call)
        except (ReplicaUnreachable, ReplicaRefused):
            self._rests_until_s = asyncio.get_running_loop().time() + _REST_S
            raise
        finally:
            self._turns -= 1
            call.cancel()

    async def _connect(self, call: Any, connect_s: float) -> None:  # grpc has no types
        try:
            async with asyncio.timeout(connect_s):
                await call.wait_for_connection()
        except (TimeoutError, grpc.aio.AioRpcError) as error:
            raise ReplicaUnreachable from error

    async def is_ready(self) -> bool:
        try:
            answer = await self._stub.ModelReady(ModelReadyRequest(name=self._stage), timeout=_READY_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.ready)

    async def close(self) -> None:
        await self._channel.close()


class Replicas:
    """Those of one stage."""

    def __init__(self, stage: Stage, endpoints: tuple[str, ...], connect_s: float) -> None:
        self._stage = stage
        self._replicas = [Replica(stage, endpoint) for endpoint in endpoints]
        self._connect_s = connect_s

    @asynccontextmanager
    async def stream(self, turn_id: str) -> AsyncIterator[StageStream]:
        """A stream to the best replica that can be reached; GatewayError if none can."""
        async with AsyncExitStack() as held:
            yield await self._enter(held, turn_id)

    async def _enter(self, held: AsyncExitStack, turn_id: str) -> StageStream:
        now_s = asyncio.get_running_loop().time()
        for replica in sorted(self._replicas, key=lambda replica: replica.rank(now_s)):
            try:
                return await held.enter_async_context(replica.stream(turn_id, self._connect_s))
            except ReplicaUnreachable:
                continue
        raise unavailable_error(f"{self._stage}: no replica can be reached")

    def has_willing(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        return not all(replica.rests(now_s) for replica in self._replicas)

    async def is_ready(self) -> bool:
        return any(await asyncio.gather(*(replica.is_ready() for replica in self._replicas)))

    async def close(self) -> None:
        for replica in self._replicas:
            await replica.close()


class StagePool:
    """The three stages of one deployment."""

    def __init__(self, deployment: Deployment, connect_s: float) -> None:
        self.deployment = deployment
        self._stages = {stage: Replicas(stage, deployment.endpoints.of(stage), connect_s) for stage in Stage}

    def stream(self, stage: Stage, turn_id: str) -> AbstractAsyncContextManager[StageStream]:
        return self._stages[stage].stream(turn_id)

    def has_willing(self, stage: Stage) -> bool:
        """Whether there is a replica that has not just refused a turn, or been out of reach."""
        return self._stages[stage].has_willing()

    async def list_unready(self) -> list[Stage]:
        ready = await asyncio.gather(*(self._stages[stage].is_ready() for stage in Stage))
        return [stage for stage, is_ready in zip(Stage, ready, strict=True) if not is_ready]

    async def close(self) -> None:
        for replicas in self._stages.values():
            await replicas.close()
