"""One Triton server over one gRPC connection: calls, what it was last seen to serve, and its end.

`pool` opens and retires servers, `checking` asks what they serve. A server that has left stays connected
until its last call is done.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from tercet_wire.names import Stage
from tritonclient.grpc.service_pb2 import ModelReadyRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A connection of its own for each server object, and word of a dead peer within seconds.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Replicas are neighbours; a proxy that the environment names is for the world outside.
    ("grpc.enable_http_proxy", 0),
)
_READY_S: Final = 2.0
_CHECK_AGAIN_S: Final = 60.0
"""Between two checks of a server that serves all its stages and stays connected."""
_RETRY_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Until the next check of one that does not: after the first, the second ... such check in a row."""


class ServerUnreachable(Exception):  # noqa: N818 - never leaves `stages`
    """No connection in time, or refused."""


class Server:
    """`changed` is called when what it was seen to serve changes."""

    def __init__(self, address: str, stages: frozenset[Stage], changed: Callable[[], None]) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub = GRPCInferenceServiceStub(self._channel)
        self._changed = changed
        self._uses = 0
        self._retired = False
        self._seen: frozenset[Stage] | None = None
        self._failures = 0
        self._check_at_s = 0.0
        self._is_ready = True
        self.stages = stages

    # --- calls ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def call(self, connect_s: float) -> AsyncIterator[Any]:
        """An open ModelStreamInfer; cancelled, if it has not ended, when the block is left."""
        if self._retired:
            raise ServerUnreachable
        call = self._stub.ModelStreamInfer()
        self._uses += 1
        try:
            await self._connect(call, connect_s)
            yield call
        finally:
            call.cancel()
            self._uses -= 1
            await self._close_when_done()

    async def _connect(self, call: Any, connect_s: float) -> None:  # grpc has no types
        try:
            async with asyncio.timeout(connect_s):
                await call.wait_for_connection()
        except (TimeoutError, grpc.aio.AioRpcError) as error:
            self._see(frozenset())
            raise ServerUnreachable from error

    async def serves(self, stage: Stage) -> bool:
        """Ask it now."""
        try:
            answer = await self._stub.ModelReady(ModelReadyRequest(name=stage), timeout=_READY_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.ready)

    async def retire(self) -> None:
        """No new calls; the connection ends with the last one."""
        self._retired = True
        await self._close_when_done()

    async def close(self) -> None:
        await self._channel.close()

    async def _close_when_done(self) -> None:
        if self._retired and not self._uses:
            await self.close()

    # --- what it serves ------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """What the cluster says of it."""
        return self._is_ready

    def set_ready(self, is_ready: bool) -> None:
        if is_ready and not self._is_ready:
            self._check_at_s = 0.0
        self._is_ready = is_ready

    def is_seen(self, stage: Stage) -> bool:
        """Connected, and the stage's model was ready when last asked."""
        return self._seen is not None and stage in self._seen

    def is_missed(self, stage: Stage) -> bool:
        """Asked, and not found to serve the stage; one that was not asked yet is not missed."""
        return self._seen is not None and stage not in self._seen

    @property
    def is_asked(self) -> bool:
        """Whatever it said, or that it said nothing."""
        return self._seen is not None

    def is_due(self, now_s: float) -> bool:
        """Whether it is time to `check` it. Notices a lost connection."""
        if self._seen and self._channel.get_state() is not grpc.ChannelConnectivity.READY:
            self._see(frozenset())
        return self._is_ready and not self._retired and now_s >= self._check_at_s

    async def check(self) -> None:
        """Ask for all its stages."""
        if self._retired:
            return
        self._uses += 1
        try:
            answers = await asyncio.gather(*(self.serves(stage) for stage in self.stages))
        finally:
            self._uses -= 1
            await self._close_when_done()
        self._see(frozenset(stage for stage, serves in zip(self.stages, answers, strict=True) if serves))

    def _see(self, seen: frozenset[Stage]) -> None:
        self._failures = 0 if seen == self.stages else self._failures + 1
        wait_s = _RETRY_S[min(self._failures, len(_RETRY_S)) - 1] if self._failures else _CHECK_AGAIN_S
        # Servers that came together are not asked together for ever.
        wait_s *= random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._check_at_s = asyncio.get_running_loop().time() + wait_s
        if seen != self._seen:
            self._seen = seen
            self._changed()
