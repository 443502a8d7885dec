"""A real Prometheus beside a run, told what to scrape by the chart's own monitors.

In a cluster Prometheus' operator reads ServiceMonitors and PodMonitors: here `translate` does. Prometheus
itself asks for pods and endpoints; as not every build of it can, `discover` does.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.live.conftest import CHART, RELEASE, Release

PORT: Final = 19095
INTERVAL_S: Final = 5
START_S: Final = 60
TARGETS: Final = "targets.json"
PREFIX: Final = "__meta_kubernetes_"
SERVICE_LABEL: Final = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    client: httpx.AsyncClient
    began: float

    async def query(self, expression: str, until: float) -> list[dict[str, Any]]:
        """Every series with its points, over the whole run."""
        window = {"start": str(self.began), "end": str(until), "step": str(INTERVAL_S)}
        answer = await self.client.post("/api/v1/query_range", data={"query": expression, **window})
        assert answer.is_success, f"{expression}: {answer.text}"
        series: list[dict[str, Any]] = answer.json()["data"]["result"]
        return series


@asynccontextmanager
async def run_prometheus(release: Release, folder: Path) -> AsyncIterator[Prometheus]:
    """It knows the release's targets when the block begins."""
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(build_config(release)))
    await asyncio.to_thread(_write_targets, release, folder / TARGETS)
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, f"--web.listen-address=127.0.0.1:{PORT}", stdout=log, stderr=log
        )
    discovery = asyncio.create_task(discover(release, folder / TARGETS))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", trust_env=False) as client:
            yield Prometheus(client=client, began=await _wait_for_targets(client))
    finally:
        discovery.cancel()
        await asyncio.gather(discovery, return_exceptions=True)
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


async def _wait_for_targets(client: httpx.AsyncClient) -> float:
    """Until gateways, operator and servers have been scraped; returns Prometheus' time."""
    query = {"query": "count(count by (job) (up == 1)) >= 3"}
    async with asyncio.timeout(START_S):
        while True:
            try:
                answer = await client.post("/api/v1/query", data=query)
            except httpx.TransportError:
                await asyncio.sleep(1)
                continue
            if answer.is_success and (found := answer.json()["data"]["result"]):
                return float(found[0]["value"][0])
            await asyncio.sleep(1)


def build_config(release: Release) -> dict[str, Any]:
    monitors = [
        each
        for each in yaml.safe_load_all(_render_monitors(release))
        if each and each["kind"] in {"ServiceMonitor", "PodMonitor"}
    ]
    jobs = [job for monitor in monitors for job in translate(monitor)]
    return {"global": {"scrape_interval": f"{INTERVAL_S}s"}, "scrape_configs": jobs}


def _render_monitors(release: Release) -> str:
    switches = ("serviceMonitors", "podMonitor")
    values = [f"--set=monitoring.{switch}.enabled=true" for switch in switches]
    namespaces = f"--set=operator.namespaces={{{release.namespace}}}"
    return release.helm("template", RELEASE, str(CHART), *values, namespaces)


def translate(monitor: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A scrape configuration for each endpoint of a monitor."""
    spec, metadata = monitor["spec"], monitor["metadata"]
    of_services = monitor["kind"] == "ServiceMonitor"
    namespaces = spec.get("namespaceSelector", {}).get("matchNames") or [metadata["namespace"]]
    port = "endpoint_port_name" if of_services else "pod_container_port_name"
    for endpoint in spec["endpoints" if of_services else "podMetricsEndpoints"]:
        rules = [
            _keep(f"{PREFIX}namespace", "|".join(namespaces)),
            _keep(PREFIX + port, endpoint["port"]),
            *_select(spec["selector"], "service" if of_services else "pod"),
            {"source_labels": [f"{PREFIX}namespace"], "target_label": "namespace"},
            {"source_labels": [f"{PREFIX}pod_name"], "target_label": "pod"},
            *(
                {"source_labels": each["sourceLabels"], "target_label": each["targetLabel"]}
                for each in endpoint.get("relabelings", ())
            ),
        ]
        yield {
            "job_name": f"{metadata['namespace']}/{metadata['name']}",
            "file_sd_configs": [{"files": [TARGETS]}],
            "relabel_configs": rules,
        }


def _keep(label: str, value: str) -> dict[str, Any]:
    return {"source_labels": [label], "regex": value, "action": "keep"}


def _select(selector: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    for name, value in selector.get("matchLabels", {}).items():
        yield _keep(_meta(kind, "label", name), value)
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "Exists", each
        yield _keep(_meta(kind, "labelpresent", each["key"]), "true")


def _meta(kind: str, what: str, label: str) -> str:
    return f"{PREFIX}{kind}_{what}_" + "".join(c if c.isalnum() else "_" for c in label)


async def discover(release: Release, targets: Path) -> None:
    """Until cancelled. What is known stays while the API server is away."""
    while True:
        await asyncio.sleep(INTERVAL_S)
        with suppress(AssertionError):
            await asyncio.to_thread(_write_targets, release, targets)


def _write_targets(release: Release, targets: Path) -> None:
    found: list[dict[str, Any]] = []
    for kubectl in (release.system, release.kubectl):
        listed = kubectl.run("get", "pods,services,endpointslices", "--output=json", "--request-timeout=3s")
        objects = json.loads(listed)["items"]
        services = {each["metadata"]["name"]: each for each in objects if each["kind"] == "Service"}
        for each in objects:
            if each["kind"] == "Pod":
                found += _list_ports(each)
            elif each["kind"] == "EndpointSlice":
                found += _list_endpoints(each, services[each["metadata"]["labels"][SERVICE_LABEL]])
    part = targets.with_suffix(".part")
    part.write_text(json.dumps(found))
    part.rename(targets)


def _list_ports(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not (address := pod["status"].get("podIP")):
        return
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", ()):
            labels = {
                f"{PREFIX}pod_name": pod["metadata"]["name"],
                f"{PREFIX}pod_container_port_name": port.get("name", ""),
            }
            yield _describe(pod, "pod", f"{address}:{port['containerPort']}", labels)


def _list_endpoints(piece: dict[str, Any], service: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for endpoint in piece.get("endpoints") or ():
        for port in piece.get("ports") or ():
            labels = {
                f"{PREFIX}pod_name": endpoint.get("targetRef", {}).get("name", ""),
                f"{PREFIX}endpoint_port_name": port.get("name", ""),
            }
            yield _describe(service, "service", f"{endpoint['addresses'][0]}:{port['port']}", labels)


def _describe(selected: dict[str, Any], kind: str, target: str, labels: dict[str, str]) -> dict[str, Any]:
    metadata = selected["metadata"]
    for name, value in metadata.get("labels", {}).items():
        labels |= {_meta(kind, "label", name): value, _meta(kind, "labelpresent", name): "true"}
    return {"targets": [target], "labels": {**labels, f"{PREFIX}namespace": metadata["namespace"]}}
