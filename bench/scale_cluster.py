"""A Kubernetes of the benchmark's own: control plane, fake nodes, and an operator under measurement.

Pods are played by kwok: no process runs in them. Called by `operator_scale`.
"""

import asyncio
import base64
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
import yaml

ROOT: Final = Path(__file__).parent.parent
KUBE: Final = ROOT / "hack" / "kube"
CRD: Final = ROOT / "charts" / "tercet" / "files" / "omnideployments.yaml"
PROGRAMS: Final = Path(os.environ.get("KUBE_BIN") or Path.home() / ".cache/tercet/kube/v1.35.4/bin")
NODE_LABEL: Final = "tercet.dev/scale"
PODS_PER_NODE: Final = 250
GPU: Final = "nvidia.com/gpu"
START_S: Final = 120
APPLY: Final = {"Content-Type": "application/apply-patch+yaml"}
MERGE: Final = {"Content-Type": "application/merge-patch+json"}


@contextmanager
def run_control_plane(folder: Path, port: int) -> Iterator[Path]:
    """Yields the kubeconfig."""
    environment = os.environ | {"KUBE_RUN": str(folder), "KUBE_PORT": str(port), "TERCET_CLUSTER": "own"}
    script = KUBE / "cluster.sh"
    subprocess.run([script, "control"], env=environment, check=True, timeout=START_S, stdout=sys.stderr)
    try:
        yield folder / "kubeconfig"
    finally:
        subprocess.run([script, "down"], env=environment, check=True, timeout=START_S)


@contextmanager
def run_program(command: list[str | Path], log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        finally:
            process.kill()


def run_kwok(kubeconfig: Path, log: Path) -> Any:  # the context manager of run_program
    command: list[str | Path] = [
        PROGRAMS / "kwok",
        f"--kubeconfig={kubeconfig}",
        f"--config={KUBE / 'kwok' / 'stages.yaml'}",
        f"--manage-nodes-with-label-selector={NODE_LABEL}",
        "--node-lease-duration-seconds=40",
        "--cidr=10.64.0.0/10",
    ]
    return run_program(command, log)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServer:
    """Just enough of a client: writes, and counts that cost next to nothing."""

    session: aiohttp.ClientSession

    async def write(self, method: str, path: str, body: Any, headers: dict[str, str] | None = None) -> None:
        async with self.session.request(method, path, json=body, headers=headers) as answer:
            if not answer.ok:
                raise RuntimeError(f"{method} {path}: {await answer.text()}")

    async def list_all(self, path: str, **query: str) -> Any:  # a list's JSON
        async with self.session.get(path, params=query) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def count(self, path: str) -> int:
        page = await self.list_all(path, limit="1")
        return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))

    async def add_nodes(self, pods: int) -> None:
        capacity = {"cpu": "1k", "memory": "4Ti", "pods": str(PODS_PER_NODE), GPU: str(PODS_PER_NODE)}
        status = {"status": {"capacity": capacity, "allocatable": capacity}}
        for number in range(-(-pods // PODS_PER_NODE) + 1):
            node = {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": f"fake-{number}", "labels": {NODE_LABEL: ""}},
            }
            await self.write("POST", "/api/v1/nodes", node)
            await self.write("PATCH", f"/api/v1/nodes/fake-{number}/status", status, MERGE)

    async def add_crd(self) -> None:
        document = yaml.safe_load(CRD.read_text())
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{document['metadata']['name']}"
        await self.write("PATCH", f"{path}?fieldManager=bench", document, APPLY)


@asynccontextmanager
async def open_api(kubeconfig: Path) -> AsyncIterator[ApiServer]:
    document = yaml.safe_load(await asyncio.to_thread(kubeconfig.read_text))
    cluster = document["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority))
    headers = {"Authorization": f"Bearer {document['users'][0]['user']['token']}"}
    async with aiohttp.ClientSession(cluster["server"], connector=connector, headers=headers) as session:
        yield ApiServer(session=session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The operator at one moment."""

    at: float
    cpu_s: float
    rss_bytes: int
    looks: float
    look_s: float
    writes: float
    errors: float
    ready: float
    leads: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorProbe:
    process: psutil.Process
    port: int

    async def sample(self, session: aiohttp.ClientSession) -> Sample:
        async with session.get(f"http://127.0.0.1:{self.port}/metrics") as answer:
            text = await answer.text()
        times = self.process.cpu_times()
        return Sample(
            at=time.monotonic(),
            cpu_s=times.user + times.system,
            rss_bytes=self.process.memory_info().rss,
            looks=_read(text, "reconcile_duration_seconds_count"),
            look_s=_read(text, "reconcile_duration_seconds_sum"),
            writes=_read(text, "writes_total"),
            errors=_read(text, "reconcile_errors_total"),
            ready=_read(text, 'deployments{reason="Serving"}'),
            leads=_read(text, "leader") == 1,
        )


def _read(metrics: str, name: str) -> float:
    """The sum over labels, unless the name has them."""
    pattern = rf"^tercet_operator_{re.escape(name)}(?:{{.*}})? (\S+)$"
    return sum(map(float, re.findall(pattern, metrics, re.MULTILINE)))
