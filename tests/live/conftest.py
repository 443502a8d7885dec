"""The product on a cluster whose node runs real pods: the chart installed, demos applied, spoken to.

`TERCET_LIVE_KUBECONFIG` names the cluster; its node has the images (`hack/images.sh --load`) and its Services
can be reached from here. `make e2e` sees to all that.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.kubectl import Kubectl
from tests.cluster.waiting import wait_for

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "tercet"
DEMO = ROOT / "examples" / "omni-demo.yaml"
SYSTEM = "tercet-live"
RELEASE = "tercet"
COMMAND_S = 300
READY_S = 480.0
SLOW_CLIENT_S = 10
"""Of speech that waits for its listener: a minute, the default, is too long to wait for."""
POLL_S = 1.0
"""A `kubectl` costs a tenth of a second of CPU, which the servers need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The chart as installed, in a namespace of its own beside that of the deployments."""

    kubeconfig: Path
    namespace: str
    home: str = SYSTEM

    @property
    def system(self) -> Kubectl:
        return Kubectl(kubeconfig=self.kubeconfig, namespace=self.home)

    @property
    def kubectl(self) -> Kubectl:
        """In the namespace of the deployments."""
        return Kubectl(kubeconfig=self.kubeconfig, namespace=self.namespace)

    @property
    def url(self) -> str:
        """Of the gateways' Service."""
        service = json.loads(self.system.run("get", "service", "tercet-gateway", "--output=json"))
        return f"http://{service['spec']['clusterIP']}:8000"

    def helm(self, *words: str) -> str:
        done = subprocess.run(
            ["helm", *words, "--kubeconfig", str(self.kubeconfig), "--namespace", self.home],
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, f"helm {' '.join(words)}: {done.stderr}"
        return done.stdout

    def install(self, *settings: str, chart: Path = CHART) -> None:
        # An earlier release may have kept the resource's definition, as it should.
        options = ("--create-namespace", "--take-ownership", "--wait", "--timeout=4m")
        values = (
            f"operator.namespaces={{{self.namespace}}}",
            "gateway.resources.requests.cpu=50m",
            f"gateway.settings.limits.slow_client_s={SLOW_CLIENT_S}",
        )
        self.helm("upgrade", "--install", RELEASE, str(chart), *options, "--set", ",".join(values), *settings)

    def apply(self, omni: dict[str, Any]) -> None:
        self.kubectl.run("apply", "--filename=-", document=yaml.safe_dump(omni))

    def read(self, name: str) -> dict[str, Any]:
        omni: dict[str, Any] = json.loads(self.kubectl.run("get", "omni", name, "--output=json"))
        return omni

    def wait_settled(self, name: str, within_s: float = READY_S) -> str:
        """Until all is of the generation that the spec asks for, and ready; returns that generation."""

        def find() -> str:
            omni = self.read(name)
            status = omni.get("status", {})
            conditions = {each["type"]: each for each in status.get("conditions", ())}
            settled = (
                status.get("observedGeneration") == omni["metadata"]["generation"]
                and conditions["Ready"]["status"] == "True"
                and conditions["Progressing"]["reason"] == "Complete"
            )
            return str(status["generation"]) if settled else ""

        return wait_for(
            find,
            f"{name} settles: {self.kubectl.ask('get', 'omni,pods').stdout}",
            within_s=within_s,
            poll_s=POLL_S,
        )


LONG_WINDED = {"source": "demo://tiny", "dtype": "float32"}
"""A model whose every reply is long, which is what happenings need."""


def build_demo(
    name: str = "demo", *, replicas: int = 1, layout: str = "Colocated", model: dict[str, str] | None = None
) -> dict[str, Any]:
    """The example, with other names and numbers."""
    omni: dict[str, Any] = yaml.safe_load(DEMO.read_text())
    omni["metadata"]["name"] = name
    omni["spec"]["layout"] = layout
    omni["spec"]["model"] = model or omni["spec"]["model"]
    for stage in omni["spec"]["stages"].values():
        stage["replicas"] = replicas
        stage["resources"]["requests"]["cpu"] = "100m"  # a rollout needs room for one more on a small node
    return omni


@pytest.fixture(scope="session")
def release() -> Iterator[Release]:
    """Installed once for all tests; what is left of a failure can be looked at until the next run."""
    with make_namespace() as release:
        release.install()
        yield release
    release.helm("uninstall", RELEASE, "--wait")


@contextmanager
def make_namespace(home: str = SYSTEM) -> Iterator[Release]:
    """For deployments, where pods must be as confined as Kubernetes knows; nothing is installed yet."""
    kubeconfig = Path(os.environ["TERCET_LIVE_KUBECONFIG"])
    release = Release(kubeconfig=kubeconfig, namespace=f"live-{uuid.uuid4().hex[:6]}", home=home)
    admin = Kubectl(kubeconfig=kubeconfig)
    admin.run("create", "namespace", release.namespace)
    admin.run("label", "namespace", release.namespace, "pod-security.kubernetes.io/enforce=restricted")
    try:
        yield release
    finally:
        admin.run("delete", "namespace", release.namespace, "--wait=false")
