"""On a real API server: what a person changes or deletes comes back, and what is right is left alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from tercet_operator.plan import MADE_ONCE
from tercet_wire.names import (
    LABEL_DEPLOYMENT,
    LABEL_GENERATION,
    LABEL_MANAGED_BY,
    LABEL_STAGE,
)

from tests.cluster.api import Api, Manifest
from tests.cluster.children import normalise, wait_for_children
from tests.cluster.namespaces import make_namespace
from tests.cluster.operators import Operator, run_operator
from tests.cluster.taps import Tap
from tests.cluster.waiting import wait_for
from tests.wire.mistakes import HUB, build_document

pytestmark = pytest.mark.usefixtures("crd")

BOUND_S: Final = 5.0
"""How soon a change by hand is undone, as the product promises."""
LOOKS: Final = "reconcile_duration_seconds_count"
RESYNC_S: Final = "0.5"
CHILDREN: Final = 14
"""Of a Disaggregated deployment with a cache: three per server and a budget, a policy, a claim."""
SPEC: Final[dict[str, Any]] = {"model": HUB | {"cache": {"size": "1Gi"}}, "rollout": {"strategy": "InPlace"}}


def containers(name: str) -> Manifest:
    return {"spec": {"template": {"spec": {"containers": [{"name": name, "image": "other"}]}}}}


EDITS: Final[dict[str, Manifest]] = {
    "Deployment replicas": {"spec": {"replicas": 5}},
    "Deployment image": {
        "spec": {"template": {"spec": {"containers": [{"name": "triton", "image": "other"}]}}}
    },
    "Deployment sidecar": containers("sidecar"),
    "Deployment owner": {"metadata": {"ownerReferences": None}},
    "Service port": {"spec": {"ports": [{"name": "grpc", "port": 1, "protocol": "TCP"}]}},
    "Service selector": {"spec": {"selector": {"app": "other"}}},
    "PodDisruptionBudget budget": {"spec": {"maxUnavailable": 3}},
    "NetworkPolicy rules": {"spec": {"ingress": [{}]}},
}
"""Merge patches by the kind that they change."""
LABELS: Final = (LABEL_DEPLOYMENT, LABEL_GENERATION, LABEL_MANAGED_BY, LABEL_STAGE, "app.kubernetes.io/name")
KINDS: Final = (
    "ConfigMap",
    "Deployment",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "Service",
)


@pytest.fixture
def api(cluster: Path, namespace: str) -> Iterator[Api]:
    with Api(cluster, namespace) as api:
        yield api


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A deployment named `demo` with all its children as they should be, and an operator at work."""

    api: Api
    operator: Operator
    children: dict[str, Manifest]

    def pick(self, kind: str) -> str:
        """Some child of a kind."""
        return next(name.partition("/")[2] for name in self.children if name.startswith(f"{kind}/"))

    def wait_until_undone(self, what: str) -> None:
        wait_for(lambda: not self.differences(), f"{what} undone", within_s=BOUND_S, why=self.explain)

    def explain(self) -> str:
        now = self.api.children("demo")
        return f"{[(name, now.get(name)) for name in self.differences()]}\n{self.operator.read_log()[-1000:]}"

    def differences(self) -> list[str]:
        """Children that are not as they were."""
        now = normalise(self.api.children("demo"))
        return [
            name for name in now.keys() | self.children.keys() if now.get(name) != self.children.get(name)
        ]


@pytest.fixture(scope="module")
def scene(cluster: Path, crd: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One for all edits: each of them leaves it as it was."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with make_namespace(cluster) as namespace, Api(cluster, namespace) as api:
        settings = {"namespaces": namespace, "lease_namespace": namespace}
        with run_operator(cluster, log, **settings) as operator:
            api.apply(build_document("demo", **SPEC))
            yield Scene(api=api, operator=operator, children=wait_for_children(api, "demo", CHILDREN))


@pytest.mark.parametrize("kind", KINDS)
def test_a_deleted_child_comes_back(scene: Scene, kind: str) -> None:
    """Each kind, as it was."""
    api, name = scene.api, scene.pick(kind)
    before = api.get(kind, name)["metadata"]["uid"]

    def is_back() -> bool:
        found = api.find(kind, name)
        return found is not None and found["metadata"]["uid"] != before

    api.delete(kind, name)
    if kind == "PersistentVolumeClaim":  # Kubernetes keeps it while pods use it
        for pod in api.pods("demo"):
            api.delete("Pod", pod["metadata"]["name"])
    wait_for(is_back, f"{kind} {name} again", within_s=BOUND_S)
    scene.wait_until_undone(f"deletion of {kind}")


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_by_hand_is_undone(scene: Scene, edit: str) -> None:
    """Whatever the operator writes is its own."""
    kind = edit.split(maxsplit=1)[0]
    scene.api.patch(kind, scene.pick(kind), EDITS[edit])
    scene.wait_until_undone(edit)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in MADE_ONCE])
def test_a_label_is_written_back(scene: Scene, kind: str, label: str) -> None:
    """Also those labels by which children are found."""
    name = scene.pick(kind)
    for value in ("other", None) if label in scene.children[f"{kind}/{name}"]["labels"] else ():
        scene.api.patch(kind, name, {"metadata": {"labels": {label: value}}})
        scene.wait_until_undone(f"{label}={value} on {kind}")


def test_what_is_right_is_not_written_again(cluster: Path, api: Api, namespace: str, tmp_path: Path) -> None:
    """Neither after lists, nor by an operator that starts anew: every resourceVersion stays."""
    settings = {"namespaces": namespace, "lease_namespace": namespace, "resync_s": RESYNC_S}
    with Tap(cluster, tmp_path) as tap:
        with run_operator(tap.kubeconfig, tmp_path / "first.log", **settings) as operator:
            api.apply(build_document("demo", **SPEC))
            wait_for_children(api, "demo", CHILDREN)
            wait_for(lambda: looks_without_writes(operator, tap), "rest")
            before = read_versions(api)
            wait_for_looks(operator, 5)
            assert read_versions(api) == before
        written = list(tap.writes)
        with run_operator(tap.kubeconfig, tmp_path / "second.log", **settings) as operator:
            wait_for_looks(operator, 5)
        assert (read_versions(api), tap.writes) == (before, written)


def looks_without_writes(operator: Operator, tap: Tap) -> bool:
    writes = len(tap.writes)
    wait_for_looks(operator, 5)
    return len(tap.writes) == writes


def wait_for_looks(operator: Operator, count: int) -> None:
    enough = operator.metric(LOOKS) + count
    wait_for(lambda: operator.metric(LOOKS) >= enough, f"{count} looks")


def read_versions(api: Api) -> dict[str, str]:
    """Of the deployment and its children."""
    everything = {"OmniDeployment": api.get("OmniDeployment", "demo"), **api.children("demo")}
    return {name: each["metadata"]["resourceVersion"] for name, each in everything.items()}
