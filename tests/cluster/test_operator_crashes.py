"""The operator is killed after each of its writes, and the end is the same as without."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.api import Api, Manifest
from tests.cluster.children import normalise, wait_for_children
from tests.cluster.namespaces import make_namespace
from tests.cluster.operators import Operator, run_operator
from tests.cluster.taps import Tap, Write
from tests.cluster.waiting import wait_for
from tests.wire.mistakes import HUB, build_document

pytestmark = pytest.mark.usefixtures("crd")

CHILDREN: Final = 14
"""Of a Disaggregated deployment with a cache: four per server, a policy, a claim."""
SPECS: Final[tuple[dict[str, Any], ...]] = (
    {"model": HUB | {"cache": {"size": "1Gi"}}},
    {"model": HUB | {"cache": {"size": "1Gi"}}, "speech": {"firstCodes": 12}},
)
MOST_LIVES: Final = 80


@pytest.fixture
def api(cluster: Path, namespace: str) -> Iterator[Api]:
    with Api(cluster, namespace) as api:
        yield api


@pytest.fixture(scope="module")
def ends(cluster: Path, crd: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Manifest]]:
    """The children of each spec, made one after the other by an operator that lives on."""
    log = tmp_path_factory.mktemp("undisturbed") / "operator.log"
    with make_namespace(cluster) as namespace, Api(cluster, namespace) as api:
        settings = {"namespaces": namespace, "lease_namespace": namespace}
        with run_operator(cluster, log, **settings):
            return [reach_end(api, spec) for spec in SPECS]


def reach_end(api: Api, spec: dict[str, Any]) -> dict[str, Manifest]:
    before = api.children("demo").keys()
    api.apply(build_document("demo", **spec))
    wait_for(lambda: api.children("demo").keys() - before, "new children")
    return wait_for_children(api, "demo", CHILDREN)


@dataclass(slots=True, kw_only=True)
class Lives:
    """Of an operator that is killed as soon as a write of its is done, before it hears of that."""

    api: Api
    folder: Path
    count: int = 0
    operator: Operator | None = None
    tap: Tap = field(init=False)

    def end(self, _: Write) -> None:
        if self.operator is not None:
            self.operator.process.kill()
            self.operator = None

    def go_on_until(self, is_done: Callable[[], bool]) -> None:
        namespace = self.api.namespace
        # By one name, so that the lease of the life before need not run out.
        settings = {"namespaces": namespace, "lease_namespace": namespace, "identity": "reborn"}
        while not is_done():
            assert self.count < MOST_LIVES, "no end"
            self.count += 1
            log = self.folder / f"{self.count}.log"
            with run_operator(self.tap.kubeconfig, log, **settings) as operator:
                self.operator = operator
                wait_for(lambda: operator.has_ended or is_done(), "a write", why=operator.read_log)
                self.operator = None


@pytest.fixture
def lives(cluster: Path, api: Api, tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(api=api, folder=tmp_path)
    with Tap(cluster, tmp_path, lives.end) as lives.tap:
        yield lives


def test_a_kill_after_any_write_changes_nothing(
    api: Api, lives: Lives, ends: list[dict[str, Manifest]]
) -> None:
    """Through a create, an update, and a delete in the middle of an update."""
    for generation, (spec, end) in enumerate(zip(SPECS, ends, strict=True), start=1):
        api.apply(build_document("demo", **spec))
        lives.go_on_until(lambda: is_reached(api, end, generation))  # noqa: B023  # called before the next
    assert lives.count > 2 * CHILDREN, "a life for each write"

    api.apply(build_document("demo", **SPECS[0]))
    before = lives.count
    lives.go_on_until(lambda: lives.count >= before + 3)
    api.delete("OmniDeployment", "demo")
    lives.go_on_until(lambda: not api.children("demo") and not api.pods("demo"))


def is_reached(api: Api, end: dict[str, Manifest], generation: int) -> bool:
    """Every child, and the status that says so."""
    status = api.get("OmniDeployment", "demo").get("status") or {}
    return status.get("observedGeneration") == generation and normalise(api.children("demo")) == end
