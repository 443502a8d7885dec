"""Two replicas of the operator on a real API server: one works at a time, whatever becomes of it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from tercet_operator.election import DURATION_S, RENEW_S

from tests.cluster.api import Api
from tests.cluster.children import wait_for_children
from tests.cluster.operators import Operator, run_operator
from tests.cluster.taps import Tap
from tests.cluster.waiting import wait_for
from tests.wire.mistakes import DEMO, build_document

pytestmark = pytest.mark.usefixtures("crd")

CHILDREN: Final = 13
"""Of a Disaggregated deployment: four per server and a policy."""
HANDOVER_S: Final = DURATION_S + RENEW_S + 2.0
"""The lease runs out, the other asks again, and starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    operator: Operator
    tap: Tap


@pytest.fixture
def api(cluster: Path, namespace: str) -> Iterator[Api]:
    with Api(cluster, namespace) as api:
        yield api


@pytest.fixture
def replicas(cluster: Path, api: Api, tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    """The one that leads, which has made `demo`, and the one that waits."""
    with ExitStack() as stack:

        def start(identity: str) -> Replica:
            folder = tmp_path / identity
            folder.mkdir()
            tap = stack.enter_context(Tap(cluster, folder))
            settings = {"namespaces": api.namespace, "lease_namespace": api.namespace, "identity": identity}
            running = run_operator(tap.kubeconfig, folder / "operator.log", **settings)
            return Replica(operator=stack.enter_context(running), tap=tap)

        first, second = start("first"), start("second")
        leads = wait_for(lambda: [each for each in (first, second) if each.operator.is_leading()], "a leader")
        api.apply(build_document("demo"))
        wait_for_children(api, "demo", CHILDREN)
        (leader,) = leads
        yield (first, second) if leader is first else (second, first)


def edit(api: Api, **spec: Any) -> None:
    """Asks for another generation."""
    before = api.children("demo").keys()
    api.apply(build_document("demo", model=DEMO, **spec))
    wait_for(lambda: api.children("demo").keys() - before, "the next generation")
    wait_for_children(api, "demo", CHILDREN)


def test_one_of_two_works(replicas: tuple[Replica, Replica], api: Api) -> None:
    """The other writes nothing."""
    leader, waiting = replicas
    edit(api, speech={"firstCodes": 12})
    assert leader.operator.is_leading()
    assert not waiting.operator.is_leading()
    assert waiting.tap.writes == []


def test_the_other_takes_over_when_the_leader_is_killed(replicas: tuple[Replica, Replica], api: Api) -> None:
    """Once the lease has run out; then it does what is to be done."""
    leader, waiting = replicas
    leader.operator.kill()
    wait_for(waiting.operator.is_leading, "a new leader", within_s=HANDOVER_S)
    edit(api, speech={"firstCodes": 12})


def test_the_other_takes_over_at_once_when_the_leader_is_ended(
    replicas: tuple[Replica, Replica], api: Api
) -> None:
    """It hands the lease over, as in a rolling update of the operator."""
    leader, waiting = replicas
    leader.operator.process.terminate()
    wait_for(lambda: leader.operator.has_ended, "its end")
    wait_for(waiting.operator.is_leading, "a new leader", within_s=2 * RENEW_S)
    assert leader.operator.process.returncode == 0


def test_a_leader_that_was_frozen_writes_no_more(replicas: tuple[Replica, Replica], api: Api) -> None:
    """It wakes up with news for it, but its lease is another's by then."""
    frozen, waiting = replicas
    frozen.operator.freeze()
    written = list(frozen.tap.writes)
    wait_for(waiting.operator.is_leading, "a new leader", within_s=HANDOVER_S)
    edit(api, speech={"firstCodes": 12})
    frozen.operator.thaw()
    wait_for(lambda: not frozen.operator.is_leading(), "its insight", why=frozen.operator.read_log)
    edit(api, speech={"firstCodes": 16})
    assert frozen.tap.writes == written
    assert waiting.operator.is_leading()
    frozen.operator.process.terminate()
    wait_for(lambda: frozen.operator.has_ended, "its end", why=frozen.operator.read_log)
