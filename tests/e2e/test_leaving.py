"""Clients that leave in each phase: the stages stop, and get back all that the turn held."""

import asyncio

import pytest
from openai import AsyncOpenAI
from tercet_wire.messages import Load
from tercet_wire.names import Stage

from tests.e2e.idle import read_loads_at_rest, read_metric, wait_idle
from tests.e2e.leavers import LEAVERS, Leave
from tests.e2e.replies import SPOKEN, ask_about, hear
from tests.e2e.served import Served
from tests.e2e.triton_client import Triton

ABREAST = 4


@pytest.fixture
async def at_rest(triton: Triton) -> dict[Stage, Load]:
    """What the stages say of themselves when they have nothing else to do."""
    return await read_loads_at_rest(triton)


@pytest.mark.parametrize("leave", LEAVERS.values(), ids=LEAVERS.keys())
async def test_leaving_ends_the_turn_in_all_stages(
    colocated: Served, sdk: AsyncOpenAI, at_rest: dict[Stage, Load], leave: Leave
) -> None:
    """Seen by their own count of turns and of KV memory; and the gateway has noticed."""
    left = read_metric(colocated, "tercet_gateway_cancelled_requests_total")
    await leave(colocated, sdk)
    await wait_idle(colocated, at_rest)
    assert read_metric(colocated, "tercet_gateway_cancelled_requests_total") == left + 1
    assert (await hear(sdk, ask_about() | SPOKEN)).pcm


@pytest.mark.parametrize("turns", [100, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.timeout(1200)
async def test_no_memory_is_lost_over_many_leavers(
    colocated: Served, sdk: AsyncOpenAI, at_rest: dict[Stage, Load], turns: int
) -> None:
    """Several at once, in all phases: afterwards every KV block is back."""

    async def leave_in_turn(first: int) -> None:
        for number in range(first, turns, ABREAST):
            await list(LEAVERS.values())[number % len(LEAVERS)](colocated, sdk)

    await asyncio.gather(*(leave_in_turn(first) for first in range(ABREAST)))
    await wait_idle(colocated, at_rest)
    assert (await hear(sdk, ask_about() | SPOKEN)).pcm
