"""A real API server for the tests of this folder, and a namespace of its own for each of them.

`TERCET_TEST_KUBECONFIG` names a cluster to use; without it a control plane is started for the session and
taken down at its end.
"""

import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tercet_wire.names import API_GROUP, PLURAL

from tests.cluster.kubectl import Kubectl

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "hack" / "kube" / "cluster.sh"
CRD = ROOT / "charts" / "tercet" / "files" / "omnideployments.yaml"
START_TIMEOUT_S = 120


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a cluster that the session may do with as it likes."""
    if given := os.environ.get("TERCET_TEST_KUBECONFIG"):
        yield Path(given)
        return
    folder = tmp_path_factory.mktemp("kube")
    environment = os.environ | {"KUBE_RUN": str(folder), "KUBE_PORT": str(find_free_ports())}
    try:
        subprocess.run([CLUSTER, "control"], env=environment, check=True, timeout=START_TIMEOUT_S)
        yield folder / "kubeconfig"
    finally:
        subprocess.run([CLUSTER, "down"], env=environment, check=True, timeout=START_TIMEOUT_S)


def find_free_ports() -> int:
    """The first of three free ports in a row."""
    for first in range(17443, 18443, 10):
        with ExitStack() as stack:
            try:
                for port in range(first, first + 3):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no three free ports in a row from 17443 on")


@pytest.fixture(scope="session")
def crd(cluster: Path) -> str:
    """The resource's full name, once the API server serves it."""
    admin = Kubectl(kubeconfig=cluster)
    admin.run("apply", "--server-side", "--force-conflicts", "--filename", str(CRD))
    name = f"{PLURAL}.{API_GROUP}"
    admin.run("wait", "--for=condition=Established", f"crd/{name}", "--timeout=60s")
    return name


@pytest.fixture
def namespace(cluster: Path) -> Iterator[str]:
    """Made for one test and deleted with all that is in it; nobody waits for the deletion."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    admin = Kubectl(kubeconfig=cluster)
    admin.run("create", "namespace", name)
    yield name
    admin.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def kubectl(cluster: Path, namespace: str) -> Kubectl:
    return Kubectl(kubeconfig=cluster, namespace=namespace)
