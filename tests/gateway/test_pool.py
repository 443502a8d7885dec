"""Servers that come and go under running turns: a pool over fake Tritons."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import psutil
import pytest
from tercet_gateway.background import beside
from tercet_gateway.errors import ReplicaRefused
from tercet_gateway.stages.checking import Checks
from tercet_gateway.stages.fleet import Endpoint, Fleet
from tercet_gateway.stages.pool import PinnedStages, StagePool
from tercet_wire.names import Stage

from tests.gateway.cluster_objects import NEW, OLD
from tests.gateway.conftest import eventually
from tests.gateway.fake_triton import FakeTriton, serve_fake_triton

ALL = frozenset(Stage)
DEAD = "127.0.0.1:1"


@pytest.fixture
async def checks() -> AsyncIterator[Checks]:
    checks = Checks()
    async with beside(checks.run()):
        yield checks


@pytest.fixture
async def pool(checks: Checks) -> AsyncIterator[StagePool]:
    pool = StagePool(checks, connect_s=1.0)
    yield pool
    await pool.close()


def server(
    address: str, generation: str = NEW, *, stages: frozenset[Stage] = ALL, is_ready: bool = True
) -> Endpoint:
    return Endpoint(address=address, stages=stages, generation=generation, is_ready=is_ready)


def fleet(*endpoints: Endpoint, serving: tuple[str, ...] = ()) -> Fleet:
    return Fleet(endpoints=endpoints, serving=frozenset(serving))


def count_connections(address: str) -> int:
    port = int(address.rpartition(":")[2])
    found = psutil.Process().net_connections("tcp")
    return sum(c.status == psutil.CONN_ESTABLISHED and bool(c.raddr) and c.raddr.port == port for c in found)


async def open_stage(held: AsyncExitStack, pinned: PinnedStages, stage: Stage) -> None:
    await held.enter_async_context(pinned.stream(stage, "turn"))


async def test_one_connection_carries_all_stages_of_a_server(triton: FakeTriton, pool: StagePool) -> None:
    """A Colocated server is one neighbour, not three."""
    await pool.update(fleet(server(triton.endpoint)))
    async with AsyncExitStack() as held:
        pinned = pool.pin()
        for stage in Stage:
            await open_stage(held, pinned, stage)
        assert count_connections(triton.endpoint) == 1


async def test_server_that_leaves_is_closed_after_its_last_stream(
    triton: FakeTriton, pool: StagePool
) -> None:
    """Two streams; the first to end does not end the other."""
    await pool.update(fleet(server(triton.endpoint)))
    async with pool.pin().stream(Stage.THINKER, "one"):
        async with pool.pin().stream(Stage.THINKER, "two"):
            await pool.update(fleet())
            assert not pool.is_open
        assert count_connections(triton.endpoint) == 1
    await eventually(lambda: count_connections(triton.endpoint) == 0)


async def test_server_without_streams_is_closed_at_once(triton: FakeTriton, pool: StagePool) -> None:
    """Nobody waits for it."""
    await pool.update(fleet(server(triton.endpoint)))
    await eventually(lambda: pool.count_reachable() != {})
    await pool.update(fleet())
    assert pool.count_reachable() == {}
    await eventually(lambda: count_connections(triton.endpoint) == 0)


async def test_server_that_stays_keeps_its_connection(triton: FakeTriton, pool: StagePool) -> None:
    """A fleet that comes anew with one server more leaves the others as they are."""
    known = server(triton.endpoint)
    await pool.update(fleet(known))
    async with pool.pin().stream(Stage.THINKER, "one"):
        await pool.update(fleet(known, server(DEAD)))
        await pool.update(fleet(known))
        assert count_connections(triton.endpoint) == 1


async def test_turn_that_has_begun_stays_in_its_generation(triton: FakeTriton, pool: StagePool) -> None:
    """The old generation drains: its turn goes on there, and the next begins on the new one."""
    async with serve_fake_triton() as newer, AsyncExitStack() as held:
        await pool.update(fleet(server(triton.endpoint, OLD), serving=(OLD,)))
        begun = pool.pin()
        await open_stage(held, begun, Stage.THINKER)
        draining, fresh = server(triton.endpoint, OLD, is_ready=False), server(newer.endpoint, NEW)
        await pool.update(fleet(draining, fresh, serving=(NEW,)))
        assert [replica.generation for replica in pool.rank_openers()] == [NEW]
        followers = pool.rank_followers(Stage.TALKER, OLD)
        assert [replica.generation for replica in followers] == [OLD]
        await open_stage(held, begun, Stage.TALKER)


async def test_thinker_that_has_spoken_is_opened_again_in_its_generation(
    triton: FakeTriton, pool: StagePool
) -> None:
    """Before that it may go anywhere; afterwards not even to one that alone may begin turns."""
    async with serve_fake_triton() as newer:
        await pool.update(fleet(server(triton.endpoint, OLD), serving=(OLD,)))
        begun = pool.pin()
        async with begun.stream(Stage.THINKER, "turn"):
            begun.settle()
        draining, fresh = server(triton.endpoint, OLD, is_ready=False), server(newer.endpoint, NEW)
        await pool.update(fleet(draining, fresh, serving=(NEW,)))
        async with begun.stream(Stage.THINKER, "turn"), pool.pin().stream(Stage.THINKER, "other"):
            assert count_connections(triton.endpoint) == 1
            assert count_connections(newer.endpoint) == 1
        await pool.update(fleet(fresh, serving=(NEW,)))
        assert not begun.has_willing(Stage.THINKER)
        assert pool.pin().has_willing(Stage.THINKER)


async def test_later_stage_is_refused_when_its_generation_is_gone(
    triton: FakeTriton, pool: StagePool
) -> None:
    """Another generation's talker cannot read these states."""
    async with serve_fake_triton() as newer:
        await pool.update(fleet(server(triton.endpoint, OLD)))
        begun = pool.pin()
        async with begun.stream(Stage.THINKER, "turn"):
            await pool.update(fleet(server(newer.endpoint, NEW)))
            assert not begun.has_willing(Stage.TALKER)
            with pytest.raises(ReplicaRefused):
                async with begun.stream(Stage.TALKER, "turn"):
                    pass


async def test_dead_replica_is_passed_over_within_the_generation(triton: FakeTriton, pool: StagePool) -> None:
    """The turn is pinned to the generation of the replica that answered."""
    await pool.update(fleet(server(DEAD), server(triton.endpoint)))
    for _ in range(4):
        pinned = pool.pin()
        async with pinned.stream(Stage.THINKER, "turn"), pinned.stream(Stage.TALKER, "turn"):
            assert count_connections(triton.endpoint) == 1


async def test_reachable_are_ready_replicas_that_were_seen_to_serve(
    triton: FakeTriton, pool: StagePool
) -> None:
    """Not a dead one, not one that drains, not a stage whose model is not loaded."""
    triton.unready = {Stage.CODE2WAV.value}
    async with serve_fake_triton() as draining:
        await pool.update(
            fleet(server(triton.endpoint), server(DEAD), server(draining.endpoint, OLD, is_ready=False))
        )
        await eventually(lambda: pool.count_reachable() == {NEW: {"thinker": 1, "talker": 1}})
        triton.unready = set()
        expected = {NEW: {"thinker": 1, "talker": 1, "code2wav": 1}}
        async with asyncio.timeout(10):
            while pool.count_reachable() != expected:  # noqa: ASYNC110 - a count has no event to wait on
                await asyncio.sleep(0.05)


async def test_generation_that_begins_no_turns_is_not_reachable(triton: FakeTriton, pool: StagePool) -> None:
    """Its servers answer; but the operator would take it for told and let the old ones go."""
    async with serve_fake_triton() as newer:
        old, new = server(triton.endpoint, OLD), server(newer.endpoint, NEW)
        await pool.update(fleet(old, new, serving=(OLD,)))
        await eventually(lambda: pool.count_reachable() == {OLD: {stage.value: 1 for stage in Stage}})
        await pool.update(fleet(old, new, serving=(NEW,)))
        await eventually(lambda: pool.count_reachable() == {NEW: {stage.value: 1 for stage in Stage}})


async def test_lost_server_is_no_longer_reachable(checks: Checks) -> None:
    """Its connection ends, and whoever counts is told."""
    told = asyncio.Event()
    pool = StagePool(checks, 1.0, told.set)
    async with serve_fake_triton() as triton:
        await pool.update(fleet(server(triton.endpoint)))
        await eventually(lambda: pool.count_reachable() != {})
        told.clear()
    async with asyncio.timeout(10):
        await told.wait()
    assert pool.count_reachable() == {}
    assert pool.is_open  # the cluster has the word on that; a turn may try
    await pool.close()
