"""Rollouts on a real API server, with nodes that kwok plays: never too many pods, and to the end."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from tercet_wire.names import GPU_RESOURCE, LABEL_GENERATION, LABEL_STAGE, Stage

from tests.cluster.api import Api, Manifest
from tests.cluster.fake_nodes import POOL, build_placement, make_node, run_kwok
from tests.cluster.operators import Operator, run_operator
from tests.cluster.waiting import wait_for
from tests.wire.mistakes import DEMO, build_document

pytestmark = pytest.mark.usefixtures("crd")

REPLICAS: Final = 3
ENOUGH: Final = 2 * REPLICAS * len(Stage)
"""GPUs for two full generations."""
DONE_S: Final = 60.0
MOST: Final = {"Surge": REPLICAS + 1, "InPlace": REPLICAS, "BlueGreen": 2 * REPLICAS}
"""Pods of one kind, all generations together."""


@pytest.fixture(scope="module")
def kwok(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with run_kwok(cluster, tmp_path_factory.mktemp("kwok") / "kwok.log", POOL):
        yield


@dataclass(slots=True, kw_only=True)
class Scene:
    """A deployment named `demo`, servers with a GPU each, and all that happens to their pods."""

    api: Api
    operator: Operator
    pool: str
    spec: dict[str, Any] = field(default_factory=dict)
    began: str = ""

    def ask_for(self, strategy: str = "Surge", **spec: Any) -> None:
        stage = {"replicas": REPLICAS, "resources": {"limits": {GPU_RESOURCE: 1}}}
        self.spec = {
            "model": DEMO,
            "stages": dict.fromkeys(Stage, stage),
            "rollout": {"strategy": strategy},
            "podTemplate": build_placement(self.pool),
            **spec,
        }
        self.began = self.began or self.api.read_version()
        self.api.apply(build_document("demo", **self.spec))

    def status(self) -> Manifest:
        found = self.api.get("OmniDeployment", "demo")
        status: Manifest = found.get("status") or {}
        return status if status.get("observedGeneration") == found["metadata"]["generation"] else {}

    def condition(self, kind: str) -> Manifest:
        conditions = self.status().get("conditions", ())
        return next((each for each in conditions if each["type"] == kind), {})

    def wait_until_done(self) -> str:
        """The generation that serves, alone and in full."""

        def is_done() -> bool:
            return (
                self.condition("Ready").get("status") == "True"
                and self.condition("Progressing").get("reason") == "Complete"
                and len(self.generations()) == 1
                and len(self.api.pods("demo")) == REPLICAS * len(Stage)
            )

        wait_for(is_done, "the end of the rollout", within_s=DONE_S, why=self.status)
        status = self.status()
        assert status["servingGenerations"] == [status["generation"]]
        assert self.generations() == {status["generation"]}
        return str(status["generation"])

    def generations(self) -> set[str]:
        """Of all children; those of no generation aside."""
        labels = (child["metadata"]["labels"] for child in self.api.children("demo").values())
        return {each[LABEL_GENERATION] for each in labels if LABEL_GENERATION in each}

    def count_most(self) -> Counter[str]:
        """The most pods of each kind at once since the start, those that leave included."""
        there: dict[str, str] = {}
        most: Counter[str] = Counter()
        for event, pod in self.api.pods_since(self.began, "demo"):
            metadata = pod["metadata"]
            there.pop(metadata["uid"], None)
            if event != "DELETED":
                there[metadata["uid"]] = metadata["labels"][LABEL_STAGE]
            most |= Counter(there.values())
        return most


@pytest.fixture
def scene(cluster: Path, kwok: None, namespace: str, tmp_path: Path) -> Iterator[Scene]:
    with Api(cluster, namespace) as api:
        settings = {"namespaces": namespace, "lease_namespace": namespace}
        with run_operator(cluster, tmp_path / "operator.log", **settings) as operator:
            yield Scene(api=api, operator=operator, pool=namespace)


def test_a_deployment_becomes_ready(scene: Scene) -> None:
    """Three servers of each stage, and no more than that on the way."""
    with make_node(scene.api, scene.pool, gpus=ENOUGH):
        scene.ask_for()
        scene.wait_until_done()
        assert scene.status()["summary"] == "3/3 3/3 3/3"
        assert set(scene.count_most().values()) == {REPLICAS}


@pytest.mark.parametrize("strategy", MOST)
def test_a_rollout_stays_within_its_bound(scene: Scene, strategy: str) -> None:
    """Of pods at once, those that leave included; and it uses the places that it may."""
    with make_node(scene.api, scene.pool, gpus=ENOUGH):
        scene.ask_for(strategy)
        first = scene.wait_until_done()
        scene.ask_for(strategy, speech={"firstCodes": 12})
        assert scene.wait_until_done() != first
        assert scene.count_most() == {stage.value: MOST[strategy] for stage in Stage}


@pytest.mark.parametrize("strategy", MOST)
def test_edits_in_the_middle_of_a_rollout(scene: Scene, strategy: str) -> None:
    """Two more on its way, the last one back to the start: the bound holds, and the start serves."""
    with make_node(scene.api, scene.pool, gpus=ENOUGH):
        scene.ask_for(strategy)
        first = scene.wait_until_done()
        for codes in (12, 16):
            known = scene.generations()
            scene.ask_for(strategy, speech={"firstCodes": codes})
            wait_for(lambda known=known: scene.generations() - known, "another generation")  # type: ignore[misc]
        scene.ask_for(strategy)
        assert scene.wait_until_done() == first
        assert max(scene.count_most().values()) <= MOST[strategy]


def test_without_a_spare_gpu_a_surge_says_so_and_in_place_gets_through(scene: Scene) -> None:
    """The old generation serves on meanwhile, and the message names the way out."""
    with make_node(scene.api, scene.pool, gpus=REPLICAS * len(Stage)):
        scene.ask_for("Surge")
        first = scene.wait_until_done()
        scene.ask_for("Surge", speech={"firstCodes": 12})
        ready = wait_for(
            lambda: find_reason(scene, "InsufficientCapacity"), "the lack of GPUs", why=scene.status
        )
        assert f"Insufficient {GPU_RESOURCE}" in ready["message"]
        assert "use rollout strategy InPlace" in ready["message"]
        assert scene.status()["servingGenerations"] == [first]
        scene.ask_for("InPlace", speech={"firstCodes": 12})
        assert scene.wait_until_done() != first
        assert max(scene.count_most().values()) <= MOST["Surge"]


def find_reason(scene: Scene, reason: str) -> Manifest | None:
    ready = scene.condition("Ready")
    return ready if ready.get("reason") == reason else None


def test_a_server_lives_on_whatever_its_deployment_is_labelled(scene: Scene) -> None:
    """A changed generation label looks like an old server in the way, where there is one place each."""
    stages = {name: {"resources": {"limits": {GPU_RESOURCE: 1}}} for name in Stage}
    with make_node(scene.api, scene.pool, gpus=ENOUGH):
        scene.ask_for("InPlace", stages=stages)
        wait_for(lambda: find_reason(scene, "Serving"), "one server of each stage", why=scene.status)
        before = {pod["metadata"]["uid"] for pod in scene.api.pods("demo")}
        (server, *_) = scene.api.list_all("Deployment")
        name, labels = server["metadata"]["name"], server["metadata"]["labels"]
        scene.api.patch("Deployment", name, {"metadata": {"labels": {LABEL_GENERATION: "00000000"}}})
        wait_for(lambda: scene.api.get("Deployment", name)["metadata"]["labels"] == labels, "its label")
        wait_for(lambda: scene.condition("Progressing").get("reason") == "Complete", "rest")
        assert {pod["metadata"]["uid"] for pod in scene.api.pods("demo")} == before
        assert scene.api.get("Deployment", name)["metadata"]["generation"] == server["metadata"]["generation"]
