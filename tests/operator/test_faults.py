"""The whole operator against a fake API server that fails in all the ways that real ones do.

Whatever goes wrong: the same end is reached, and once it is, nothing is written any more.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration
from tercet_operator.cluster import Cluster
from tercet_operator.comparing import is_part
from tercet_operator.handlers import WATCHED
from tercet_operator.metrics import Metrics
from tercet_operator.plan import PRUNED, render_children
from tercet_operator.queue import WorkQueue
from tercet_operator.reconcile import Reconciler
from tercet_operator.resources.naming import Owner
from tercet_operator.routes import RouteBook
from tercet_operator.settings import Images, OperatorSettings
from tercet_operator.store import Key, Store
from tercet_operator.work import Work
from tercet_wire.names import KIND, LABEL_GENERATION
from tercet_wire.spec import OmniDeployment

from tests.operator import faulty_api
from tests.operator.api_contract import build_resource
from tests.operator.fake_api import WRITES, FakeApi, Fault
from tests.operator.fake_controllers import run_controllers

LIMIT_S: Final = 90.0
POLL_S: Final = 0.05
RESYNC_S: Final = 3.0
KEY: Final = ("speech", "demo")
LOOKS: Final = "tercet_operator_reconcile_duration_seconds_count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What the API server does to its clients."""

    fault: Callable[[], Fault] | None = None
    watch_s: float = 300.0
    """How long a watch lasts."""
    forgets: bool = False
    """Versions are gone as soon as they are old. What was deleted meanwhile then shows in the next resync."""


FAIR: Final = Weather()
WEATHERS: Final = {
    "fair": FAIR,
    "conflicts": Weather(fault=faulty_api.conflict),
    "throttled": Weather(fault=faulty_api.throttle),
    "500 and 503 in bursts": Weather(fault=lambda: faulty_api.fail_in_bursts(500, 503)),
    "a proxy's 502": Weather(fault=faulty_api.speak_like_a_proxy),
    "hangs up": Weather(fault=faulty_api.hang_up),
    "watches drop all the time": Weather(watch_s=0.1),
    "watches drop, and their version is gone": Weather(watch_s=0.1, forgets=True),
    "200 ms away": Weather(fault=lambda: faulty_api.delay(0.2)),
    "slow lists": Weather(fault=lambda: faulty_api.delay(0.5, lists_only=True)),
}


@dataclass(slots=True, kw_only=True)
class World:
    """An API server, what makes pods, and an operator that can be started and stopped."""

    api: FakeApi
    queue: WorkQueue[Key] = field(default_factory=WorkQueue[Key])

    @asynccontextmanager
    async def operate(self) -> AsyncIterator[Metrics]:
        """A new operator, which knows nothing."""
        async with self.open_work() as work, self.run(work):
            yield work.metrics

    @asynccontextmanager
    async def open_work(self, *, resync_s: float = RESYNC_S) -> AsyncIterator[Work]:
        store, self.queue = Store(), WorkQueue[Key]()
        async with ApiClient(Configuration(host=self.api.url)) as client:
            yield Work(
                settings=OperatorSettings(workers=2, resync_s=resync_s),
                cluster=Cluster(client),
                store=store,
                queue=self.queue,
                metrics=Metrics(self.queue, store),
            )

    @asynccontextmanager
    async def run(self, work: Work) -> AsyncIterator[None]:
        """As long as it leads."""
        running = asyncio.create_task(work.run())
        try:
            yield
            assert not running.done(), running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    @property
    def resource(self) -> dict[str, Any]:
        return self.api.objects.get((KIND, *KEY))

    def edit(self, **spec: Any) -> None:
        self.api.objects.patch((KIND, *KEY), {"spec": spec})

    def find_reasons(self) -> dict[str, str]:
        conditions = self.resource.get("status", {}).get("conditions", [])
        return {each["type"]: each["reason"] for each in conditions}

    def is_at_rest(self) -> bool:
        """The spec as it is now is served, and nothing else is there."""
        generation = self.resource["metadata"]["generation"]
        status = self.resource.get("status", {})
        reasons = self.find_reasons()
        return (
            status.get("observedGeneration") == generation
            and (reasons["Ready"], reasons["Progressing"]) == ("Serving", "Complete")
            and {each["metadata"]["labels"][LABEL_GENERATION] for each in self.api.objects.list("Pod")}
            == {status["generation"]}
            and len(self.find_children()) == len(self.render())
        )

    def find_children(self) -> dict[tuple[str, str], dict[str, Any]]:
        found = [each for kind in PRUNED for each in self.api.objects.list(kind)]
        return {(each["kind"], each["metadata"]["name"]): each for each in found}

    def render(self) -> tuple[dict[str, Any], ...]:
        document = {name: value for name, value in self.resource.items() if name != "status"}
        namespace, name = KEY
        owner = Owner(namespace=namespace, name=name, uid=document["metadata"]["uid"])
        return render_children(OmniDeployment.model_validate(document), owner, Images())

    def count_writes(self) -> int:
        return sum(self.api.writes.values())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110  # the fake has no event for each condition
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def open_world(weather: Weather, folder: Path, environment: pytest.MonkeyPatch) -> AsyncIterator[World]:
    api = FakeApi(watch_s=weather.watch_s)
    async with api.serve(), run_controllers(api.objects):
        environment.setenv("KUBECONFIG", str(api.write_kubeconfig(folder / "kubeconfig")))
        api.fault = weather.fault() if weather.fault else None
        if weather.forgets:
            api.objects.listeners.append(api.objects.forget_history)
        yield World(api=api)


async def look_again(world: World, metrics: Metrics) -> None:
    """Several times, and until the last of them is over."""
    for _ in range(3):
        looks = metrics.registry.get_sample_value(LOOKS) or 0
        world.queue.add(KEY)
        await until(lambda looks=looks: (metrics.registry.get_sample_value(LOOKS) or 0) > looks)  # type: ignore[misc]


def find_faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What no operator should say: errors of its own, and tracebacks."""
    return [
        f"{record.name}: {record.getMessage()}"
        for record in caplog.records
        if record.name.startswith("tercet") and (record.levelno >= logging.ERROR or record.exc_info)
    ]


async def test_a_replica_that_leads_again_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks that hung when the lease was lost hold nothing up, and what was known then is asked for anew."""
    async with open_world(FAIR, tmp_path, monkeypatch) as world, world.open_work() as work:
        hanging = asyncio.Event()

        async def hang(request: web.Request) -> None:
            if request.method in WRITES:
                hanging.set()
                await asyncio.Event().wait()

        world.api.fault = hang
        world.api.objects.create(build_resource(KEY[0]))
        async with world.run(work), asyncio.timeout(LIMIT_S):
            await hanging.wait()
        assert (len(work.queue), len(work.store)) == (0, 0)
        world.api.fault = None
        async with world.run(work):
            await until(world.is_at_rest)


async def test_an_edit_that_a_status_overtakes_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the status holds the edit already, so its event will be no news."""
    async with open_world(FAIR, tmp_path, monkeypatch) as world, world.open_work() as work:
        world.api.objects.create(build_resource(KEY[0]))
        reconciler = Reconciler(
            cluster=work.cluster, store=work.store, routes=RouteBook(open_=False), settings=work.settings
        )

        async def look() -> bool:
            return (await reconciler.reconcile(KEY)).goes_on

        work.store.put(world.resource)
        while await look():
            pass
        world.edit(speech={"firstCodes": 19})
        work.store.put(world.resource)
        assert not await look()

        async def edit(request: web.Request) -> None:
            if request.path.endswith("/status"):
                world.edit(speech={"firstCodes": 20})

        world.api.fault = edit
        world.edit(speech={"firstCodes": 18})
        work.store.put(world.resource)
        assert await look()


@pytest.mark.parametrize("weather", WEATHERS.values(), ids=WEATHERS)
async def test_the_end_is_the_same_in_any_weather(
    weather: Weather, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Made, edited and scaled; then no look writes anything, nor does an operator that starts anew."""
    async with open_world(weather, tmp_path, monkeypatch) as world:
        async with world.operate() as metrics:
            world.api.objects.create(build_resource(KEY[0]))
            await until(world.is_at_rest)
            world.edit(speech={"firstCodes": 9})
            await until(world.is_at_rest)
            world.edit(stages={"talker": {"replicas": 2}})
            await until(world.is_at_rest)
            children = world.find_children()
            for wanted in world.render():
                assert is_part(wanted, children[wanted["kind"], wanted["metadata"]["name"]])
            await look_again(world, metrics)  # also behind the last Event
            written = world.count_writes()
            await look_again(world, metrics)
            assert world.count_writes() == written
        async with world.operate() as metrics:
            await until(lambda: bool(metrics.registry.get_sample_value(LOOKS)))
            await look_again(world, metrics)
            assert world.count_writes() == written
        assert (world.api.watches > 3 * len(WATCHED)) == (weather.watch_s < 1), "the weather was another"
    assert find_faults(caplog) == []
