"""Tells whether a deployment has nothing left to do: by its gateway's metrics and by its stages' own word."""

import asyncio
import re
from collections.abc import Callable
from uuid import uuid4

import httpx
from tercet_wire.messages import Load, StageEvent
from tercet_wire.names import Stage, Tensor

from tests.e2e.served import Served
from tests.e2e.triton_client import Answer, Triton, open_triton
from tests.e2e.turns import relay, spoken_turn, think

IDLE_S = 60
POLL_S = 0.1
IN_FLIGHT = "tercet_gateway_in_flight_requests"


async def read_loads(triton: Triton) -> dict[Stage, Load]:
    """What the stages say in the last message of a short turn: that turn's own share is in it."""
    turn, session = spoken_turn(), uuid4().hex
    said = await think(triton, session, turn)
    coded = await relay(triton, Stage.TALKER, session, turn, said)
    sounded = await relay(triton, Stage.CODE2WAV, session, turn, coded)
    return {
        Stage.THINKER: _last_load(said),
        Stage.TALKER: _last_load(coded),
        Stage.CODE2WAV: _last_load(sounded),
    }


async def read_loads_at_rest(triton: Triton) -> dict[Stage, Load]:
    """The same once that turn is alone."""
    async with asyncio.timeout(IDLE_S):
        while True:
            loads = await read_loads(triton)
            if all(load.turns <= 1 and not load.waiting for load in loads.values()):
                return loads


def _last_load(answers: list[Answer]) -> Load:
    last = [answer for answer in answers if answer.tensors][-1]
    return StageEvent.model_validate_json(last.text(Tensor.EVENT)).load


def read_metric(served: Served, name: str) -> float:
    """The sum over all labels; 0 for one that has not been counted yet."""
    page = httpx.get(served.metrics_url, timeout=IDLE_S).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", page, re.MULTILINE))


async def wait_until(is_so: Callable[[], bool], within_s: float = IDLE_S) -> None:
    """Asks again and again, since another process's state sends no event."""
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)


async def wait_idle(served: Served, at_rest: dict[Stage, Load]) -> None:
    """Until no stage knows of more turns or holds more memory than when nothing had been asked of it."""
    await wait_until(lambda: read_metric(served, IN_FLIGHT) == 0)
    async with open_triton(served.triton["thinker"][0]) as triton, asyncio.timeout(IDLE_S):
        while _work(await read_loads(triton)) != _work(at_rest):
            pass


def _work(loads: dict[Stage, Load]) -> dict[Stage, tuple[int, int, float]]:
    return {stage: (load.turns, load.waiting, load.kv_used) for stage, load in loads.items()}
