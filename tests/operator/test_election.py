"""Replicas of the operator, of which never two lead, in a time that passes at once."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

import pytest
from tercet_operator.cluster import Cluster
from tercet_operator.election import DURATION_S, GIVE_UP_S, RENEW_S, Election

from tests.operator.fake_leases import Line, Server
from tests.operator.fake_time import run_in_fake_time

STOPPING_S = DURATION_S - GIVE_UP_S - 0.5
"""What a leader may take to stop: no more than the rest of the lease."""
SOON_S = DURATION_S + 3 * RENEW_S
FAULTS = ("is_cut", "hangs", "loses_answers")


@dataclass(slots=True, kw_only=True)
class Replicas:
    """All on one server."""

    server: Server = field(default_factory=Server)
    lines: dict[str, Line] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    leading: list[str] = field(default_factory=list)
    reigns: list[str] = field(default_factory=list)
    """Who has led, one after the other."""
    worst: int = 0
    """Most that ever led at once."""
    dead: set[str] = field(default_factory=set)

    def start(self, name: str, lead: Callable[[], Awaitable[None]] | None = None) -> Line:
        line = self.lines[name] = Line(server=self.server, delay_s=0.01)
        election = Election(
            cluster=cast("Cluster", line),
            namespace="n",
            name="tercet-operator",
            identity=name,
            clock=asyncio.get_running_loop().time,
        )

        async def reign() -> None:
            self.leading.append(name)
            self.reigns.append(name)
            self.worst = max(self.worst, len(self.leading))
            try:
                await (lead() if lead else asyncio.get_running_loop().create_future())
            finally:
                if name not in self.dead:
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(STOPPING_S)
                self.leading.remove(name)

        self.tasks[name] = asyncio.create_task(election.lead_when_elected(reign))
        return line

    async def stop(self, name: str) -> None:
        """As SIGTERM does it."""
        task = self.tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def kill(self, name: str) -> None:
        """As SIGKILL does it: it hands nothing over."""
        self.dead.add(name)
        self.lines[name].is_cut = True
        await self.stop(name)


@asynccontextmanager
async def open_replicas(*names: str) -> AsyncIterator[Replicas]:
    replicas = Replicas()
    for name in names:
        replicas.start(name)
        await asyncio.sleep(RENEW_S / 2)
    yield replicas
    for name in list(replicas.tasks):
        await replicas.stop(name)
    assert replicas.worst == 1, "two led at once, or nobody ever did"


def test_the_first_leads_and_the_others_wait() -> None:
    """For as long as it renews."""

    async def work() -> None:
        async with open_replicas("a", "b", "c") as replicas:
            await asyncio.sleep(600)
            assert replicas.reigns == replicas.leading == ["a"]
            assert set(replicas.server.writes) == {"a"}

    run_in_fake_time(work())


def test_a_dead_leader_is_followed_after_its_lease() -> None:
    """Not before, since it could still be at work."""

    async def work() -> None:
        async with open_replicas("a", "b", "c") as replicas:
            await replicas.kill("a")
            await asyncio.sleep(DURATION_S - RENEW_S - 1)
            assert replicas.reigns == ["a"]
            await asyncio.sleep(SOON_S)
            assert len(replicas.reigns) == 2

    run_in_fake_time(work())


def test_a_leader_that_stops_hands_over() -> None:
    """Once its work has ended; nobody waits for the lease."""

    async def work() -> None:
        async with open_replicas("a", "b") as replicas:
            await replicas.stop("a")
            await asyncio.sleep(RENEW_S + 1)
            assert replicas.reigns == ["a", "b"]

    run_in_fake_time(work())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_leader_that_cannot_renew_stops_before_another_starts(fault: str) -> None:
    """However it is cut off, and at whatever moment between two renewals; then it waits its turn."""

    async def work(wait_s: float) -> None:
        async with open_replicas("a", "b") as replicas:
            await asyncio.sleep(10 + wait_s)
            setattr(replicas.lines["a"], fault, True)
            await asyncio.sleep(SOON_S + STOPPING_S)
            assert replicas.reigns == ["a", "b"]
            assert replicas.leading == ["b"]
            setattr(replicas.lines["a"], fault, False)
            await asyncio.sleep(100)
            assert replicas.leading == ["b"]

    for tenths in range(0, 35, 3):
        run_in_fake_time(work(tenths / 10))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_short_fault_ends_no_reign(fault: str) -> None:
    """Of the API server, for everybody."""

    async def work() -> None:
        async with open_replicas("a", "b") as replicas:
            for _ in range(20):
                for faulty in (True, False):
                    for line in replicas.lines.values():
                        setattr(line, fault, faulty)
                    await asyncio.sleep(5)
            assert replicas.reigns == ["a"]

    run_in_fake_time(work())


def test_nobody_leads_without_an_api_server_and_somebody_after_it() -> None:
    """Also where it never came up before."""

    async def work() -> None:
        replicas = Replicas()
        replicas.start("a").is_cut = True
        await asyncio.sleep(100)
        assert replicas.reigns == []
        replicas.lines["a"].is_cut = False
        await asyncio.sleep(RENEW_S + 1)
        assert replicas.reigns == ["a"]
        await replicas.stop("a")

    run_in_fake_time(work())


def test_work_that_fails_ends_the_process_and_the_reign() -> None:
    """The error is the caller's, and the next one may start at once."""

    async def fail() -> None:
        await asyncio.sleep(20)
        raise ValueError("broken")

    async def work() -> None:
        replicas = Replicas()
        replicas.start("a", fail)
        await asyncio.sleep(1)
        replicas.start("b")
        with pytest.raises(ValueError, match="broken"):
            await replicas.tasks.pop("a")
        await asyncio.sleep(RENEW_S + 1)
        assert replicas.reigns == ["a", "b"]
        assert replicas.worst == 1
        await replicas.stop("b")

    run_in_fake_time(work())


def test_a_replica_that_is_started_anew_goes_on() -> None:
    """Under the same name: the lease is its own."""

    async def work() -> None:
        async with open_replicas("a") as replicas:
            await replicas.kill("a")
            replicas.dead.clear()
            replicas.start("a")
            await asyncio.sleep(1)
            assert replicas.reigns == ["a", "a"]
            lease = replicas.server.lease
            assert lease is not None
            assert lease["spec"]["leaseTransitions"] == 0

    run_in_fake_time(work())


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_never_two_lead(seed: int) -> None:
    """Lines fail and come back, replicas die, stop and start; in the end one leads."""

    async def work() -> None:
        chance = random.Random(seed)
        async with open_replicas("a", "b", "c") as replicas:
            for number in range(150):
                await asyncio.sleep(chance.uniform(0, 12))
                name = chance.choice(list(replicas.tasks))
                line = replicas.lines[name]
                match chance.randrange(5):
                    case 0 | 1:
                        fault = chance.choice(FAULTS)
                        setattr(line, fault, not getattr(line, fault))
                    case 2:
                        line.delay_s = chance.uniform(0, 1)
                    case 3:
                        await (replicas.kill if chance.random() < 0.5 else replicas.stop)(name)
                        replicas.start(f"{name[0]}{number}")
                    case _:
                        for fault in FAULTS:
                            setattr(line, fault, False)
            for line in replicas.lines.values():
                line.is_cut = line.hangs = line.loses_answers = False
                line.delay_s = 0.01
            await asyncio.sleep(2 * SOON_S)
            assert len(replicas.leading) == 1

    run_in_fake_time(work())
