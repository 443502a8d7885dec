"""How long the operator takes for many OmniDeployments at once, and what that costs.

`python -m bench.operator_scale [--counts 10,100,1000]`. On a control plane of its own, with pods that kwok
plays: the time until all have all their children is the operator's; the time until all are Ready is also that
of Kubernetes' own controllers, which share the machine. There is no gateway, so ready pods count as reached.
An operator that ends, ends the benchmark.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
from rich.console import Console
from tercet_wire.names import API_GROUP, API_VERSION, KIND, PLURAL, Stage

from bench.machine import describe_machine
from bench.reports import Claim, Report, print_report, write_report
from bench.scale_cluster import (
    GPU,
    ApiServer,
    OperatorProbe,
    Sample,
    open_api,
    run_control_plane,
    run_kwok,
    run_program,
)

RESULTS: Final = Path(__file__).parent / "results"
PORT: Final = 26543
OPERATOR_PORT: Final = 26549
NAMESPACES: Final = 100
"""As many as KubeRay's test has; Kubernetes' own controllers compare all pods and budgets of a namespace."""
RESOURCES: Final = f"/apis/{API_GROUP}/{API_VERSION}/{PLURAL}"
CONFIG_MAPS: Final = "/api/v1/configmaps"
AT_ONCE: Final = 16
"""Creates; the operator has its own number of workers."""
POLL_S: Final = 1.0
START_S: Final = 60.0
LIMIT_S: Final = 1200.0
SERVERS: Final = 3
"""Each asks for a GPU; the fake nodes have as many as pods."""
CHILDREN: Final = {
    "/apis/apps/v1/deployments": SERVERS,
    "/api/v1/services": SERVERS,
    CONFIG_MAPS: SERVERS,
    "/apis/policy/v1/poddisruptionbudgets": SERVERS,
    "/apis/networking.k8s.io/v1/networkpolicies": 1,
}
"""Of one deployment, by the path of their list."""
CREATED_S: Final = 120.0
PEER_S: Final = 258.0
"""KubeRay 1.1.1, 1000 RayClusters created until all were ready, on GKE: its benchmark/perf-tests."""
RSS_MB: Final = 400.0
GROWTH: Final = 1.5
COLUMNS: Final = ("deployments", "children", "Ready", "RSS", "CPU", "CPU each", "looks", "writes", "errors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    count: int
    children_s: float
    ready_s: float
    rss_mb: float
    cpu_s: float
    looks_each: float
    writes_each: float
    errors: float
    cpu_ms_by_decile: list[float]
    """Of one deployment, for each tenth of them, until it has its children."""

    @property
    def cpu_ms_each(self) -> float:
        return 1000 * self.cpu_s / self.count

    def cells(self) -> list[str]:
        return [
            str(self.count),
            f"{self.children_s:.1f} s",
            f"{self.ready_s:.1f} s",
            f"{self.rss_mb:.0f} MB",
            f"{self.cpu_s:.1f} s",
            f"{self.cpu_ms_each:.0f} ms",
            f"{self.looks_each:.1f} each",
            f"{self.writes_each:.1f} each",
            f"{self.errors:.0f}",
        ]


@dataclass(slots=True, kw_only=True)
class Run:
    """One count, from the first create to the last Ready."""

    api: ApiServer
    probe: OperatorProbe
    count: int
    began: Sample
    samples: list[tuple[int, Sample]]
    """With how many deployments had their servers then."""

    async def measure(self, others: dict[str, int]) -> Outcome:
        """`others`: objects that were there before, by the path of their list."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._create_all())
            children_s = await self._wait_until(others, lambda made, _: made == self.count)
            ready_s = await self._wait_until(others, lambda _, sample: sample.ready == self.count)
        if unready := await self._find_unready():
            raise RuntimeError(f"said to be Ready, and are not: {unready}")
        return self._sum_up(children_s, ready_s)

    async def _wait_until(self, others: dict[str, int], is_done: Callable[[int, Sample], bool]) -> float:
        """Returns the seconds since the start."""
        while True:
            made, sample = await self._look(others)
            self.samples.append((made, sample))
            passed_s = sample.at - self.began.at
            if is_done(made, sample):
                return passed_s
            if passed_s > LIMIT_S:
                raise TimeoutError(f"{made} made, {sample.ready:.0f} ready, in {LIMIT_S:.0f} s")
            await asyncio.sleep(POLL_S)

    async def _find_unready(self) -> list[str]:
        """By the API server's word, not the operator's."""
        listed = (await self.api.list_all(RESOURCES))["items"]
        ready = {
            each["metadata"]["name"]
            for each in listed
            for condition in each["status"]["conditions"]
            if (condition["type"], condition["status"]) == ("Ready", "True")
        }
        return [name for name in map(name_of, range(self.count)) if name not in ready]

    async def _look(self, others: dict[str, int]) -> tuple[int, Sample]:
        counts = await asyncio.gather(*(self.api.count(path) for path in CHILDREN))
        made = (
            (count - others[path]) // each
            for (path, each), count in zip(CHILDREN.items(), counts, strict=True)
        )
        return min(made), await self.probe.sample(self.api.session)

    async def _create_all(self) -> None:
        numbers = iter(range(self.count))
        await asyncio.gather(*(self._create_some(numbers) for _ in range(AT_ONCE)))

    async def _create_some(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            namespace = name_namespace(number)
            path = f"/apis/{API_GROUP}/{API_VERSION}/namespaces/{namespace}/{PLURAL}"
            await self.api.write("POST", path, build_document(name_of(number), namespace))

    def _sum_up(self, children_s: float, ready_s: float) -> Outcome:
        _, end = self.samples[-1]
        return Outcome(
            count=self.count,
            children_s=children_s,
            ready_s=ready_s,
            rss_mb=max(sample.rss_bytes for _, sample in self.samples) / 1e6,
            cpu_s=end.cpu_s - self.began.cpu_s,
            looks_each=(end.looks - self.began.looks) / self.count,
            writes_each=(end.writes - self.began.writes) / self.count,
            errors=end.errors,
            cpu_ms_by_decile=list(self._iter_decile_costs()),
        )

    def _iter_decile_costs(self) -> Iterator[float]:
        made, cpu_s = 0, self.began.cpu_s
        for decile in range(1, 11):
            now, sample = next(each for each in self.samples if each[0] >= self.count * decile / 10)
            yield round(1000 * (sample.cpu_s - cpu_s) / (now - made), 2) if now > made else 0.0
            made, cpu_s = now, sample.cpu_s


def name_of(number: int) -> str:
    return f"omni-{number}"


def name_namespace(number: int) -> str:
    return f"scale-{number % NAMESPACES}"


def build_document(name: str, namespace: str) -> dict[str, Any]:  # Any: a manifest
    return {
        "apiVersion": f"{API_GROUP}/{API_VERSION}",
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"source": "demo://tiny"},
            "stages": {stage.value: {"resources": {"limits": {GPU: "1"}}} for stage in Stage},
        },
    }


async def measure(kubeconfig: Path, operator: int, count: int) -> Outcome:
    async with open_api(kubeconfig) as api:
        probe = OperatorProbe(process=psutil.Process(operator), port=OPERATOR_PORT)
        began = await _wait_for_operator(api, probe)
        others = {path: await api.count(path) for path in CHILDREN}
        run = Run(api=api, probe=probe, count=count, began=began, samples=[])
        return await run.measure(others)


async def _wait_for_operator(api: ApiServer, probe: OperatorProbe) -> Sample:
    ends_at = time.monotonic() + START_S
    while time.monotonic() < ends_at:
        try:
            if (sample := await probe.sample(api.session)).leads:
                return sample
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(POLL_S)
    raise TimeoutError("the operator does not lead")


async def prepare(kubeconfig: Path, count: int) -> None:
    async with open_api(kubeconfig) as api:
        await api.add_crd()
        await api.add_nodes(SERVERS * count)
        before = await api.count(CONFIG_MAPS)  # Kubernetes will put a certificate into each namespace
        for number in range(NAMESPACES):
            await api.write("POST", "/api/v1/namespaces", {"metadata": {"name": name_namespace(number)}})
        async with asyncio.timeout(START_S):
            while await api.count(CONFIG_MAPS) < before + NAMESPACES:  # noqa: ASYNC110 - a count has no event
                await asyncio.sleep(POLL_S)


def run_count(count: int) -> Outcome:
    """On a cluster of its own, so that nothing is left of the counts before."""
    with tempfile.TemporaryDirectory(prefix="tercet-scale-") as name:
        folder = Path(name)
        with (
            run_control_plane(folder / "kube", PORT) as kubeconfig,
            run_kwok(kubeconfig, folder / "kwok.log"),
        ):
            asyncio.run(prepare(kubeconfig, count))
            command: list[str | Path] = [sys.executable, "-m", "tercet_operator"]
            variables = {"KUBECONFIG": str(kubeconfig), "TERCET_METRICS_PORT": str(OPERATOR_PORT)}
            with run_program(command, folder / "operator.log", **variables) as operator:
                return asyncio.run(measure(kubeconfig, operator.pid, count))


def build_report(outcomes: Sequence[Outcome]) -> Report:
    last = outcomes[-1]
    growth = last.cpu_ms_each / outcomes[-2].cpu_ms_each if len(outcomes) > 1 else 1.0
    return Report(
        name="operator_scale",
        title="OmniDeployments created at once",
        columns=COLUMNS,
        rows=[outcome.cells() for outcome in outcomes],
        claims=[
            _claim(f"seconds until {last.count} have all their children", last.children_s, CREATED_S),
            _claim(f"seconds until {last.count} are Ready; KubeRay for 1000", last.ready_s, PEER_S),
            _claim("MB of the operator at most", last.rss_mb, RSS_MB),
            _claim("CPU for a deployment, against a tenth as many", growth, GROWTH),
        ],
        raw={str(outcome.count): asdict(outcome) for outcome in outcomes},
    )


def _claim(text: str, measured: float, target: float) -> Claim:
    return Claim(text=text, measured=measured, target=target, at_least=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.operator_scale", description=__doc__)
    parser.add_argument("--counts", default="10,100,1000", help="OmniDeployments, separated by commas")
    counts = [int(count) for count in parser.parse_args().counts.split(",")]
    console = Console()
    outcomes = []
    for count in counts:
        outcomes.append(run_count(count))
        console.print(*outcomes[-1].cells(), highlight=False)
    report = build_report(outcomes)
    print_report(report, console)
    console.print(f"written to {write_report(report, describe_machine(), RESULTS)}", highlight=False)
    return 0 if all(claim.is_met for claim in report.claims) else 1


if __name__ == "__main__":
    sys.exit(main())
