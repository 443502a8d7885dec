"""Nodes that kwok plays: pods that are put there become ready at once, and no process runs in them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tercet_wire.names import GPU_RESOURCE

from tests.cluster.api import Api

ROOT: Final = Path(__file__).parents[2]
STAGES: Final = ROOT / "hack" / "kube" / "kwok" / "stages.yaml"
KWOK: Final = Path(os.environ.get("KUBE_BIN") or Path.home() / ".cache/tercet/kube/v1.35.4/bin") / "kwok"
POOL: Final = "tercet.dev/test-pool"
STOP_S: Final = 10.0


@contextmanager
def run_kwok(kubeconfig: Path, log: Path, selector: str) -> Iterator[None]:
    """For the nodes that the label selector names."""
    command: list[str | Path] = [
        KWOK,
        f"--kubeconfig={kubeconfig}",
        f"--config={STAGES}",
        f"--manage-nodes-with-label-selector={selector}",
        "--node-lease-duration-seconds=40",
        "--cidr=10.99.0.0/16",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        finally:
            process.kill()


@contextmanager
def make_node(api: Api, pool: str, *, gpus: int) -> Iterator[None]:
    """One for the pods of a pool and for no others."""
    capacity = {"cpu": "64", "memory": "256Gi", "pods": "500", GPU_RESOURCE: str(gpus)}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": pool, "labels": {POOL: pool}},
        "spec": {"taints": [{"key": POOL, "value": pool, "effect": "NoSchedule"}]},
    }
    api.apply(node)
    api.patch("Node", pool, {"status": {"capacity": capacity, "allocatable": capacity}}, subresource="status")
    try:
        yield
    finally:
        api.delete("Node", pool)


def build_placement(pool: str) -> dict[str, Any]:
    """The podTemplate of servers in a pool."""
    tolerations = [{"key": POOL, "value": pool, "effect": "NoSchedule"}]
    return {"spec": {"nodeSelector": {POOL: pool}, "tolerations": tolerations}}
