"""The real API server refuses every mistake, and says what to write instead."""

from typing import Any

import pytest
import yaml

from tests.cluster.kubectl import Kubectl
from tests.wire.mistakes import HUB, MISTAKES, Mistake, build_document

pytestmark = pytest.mark.usefixtures("crd")

AGAIN = "apply it anew"
CACHE = {"size": "1Gi"}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.title)
def test_each_mistake_is_refused_with_its_remedy(kubectl: Kubectl, mistake: Mistake) -> None:
    """As `kubectl apply` shows it."""
    refused = apply(kubectl, mistake.document, "--dry-run=server")
    assert refused.startswith("rc 1")
    assert mistake.field in refused
    assert mistake.remedy in refused
    assert "evaluation error" not in refused
    assert "no such key" not in refused


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ({"layout": "Colocated"}, {}, "spec.layout"),
        ({}, {"layout": "Colocated"}, "spec.layout"),
        ({"model": HUB | {"cache": CACHE}}, {"model": HUB}, "spec.model.cache"),
        ({"model": HUB}, {"model": HUB | {"cache": CACHE}}, "spec.model.cache"),
        ({"model": HUB | {"cache": CACHE}}, {"model": HUB | {"cache": {"size": "2Gi"}}}, "spec.model.cache"),
    ],
    ids=["to the default layout", "to Colocated", "cache away", "cache added", "cache grown"],
)
def test_what_holds_volumes_and_pods_cannot_change(
    kubectl: Kubectl, before: dict[str, Any], after: dict[str, Any], field: str
) -> None:
    """Layout and cache are for the life of the object; the message says how to go on."""
    assert apply(kubectl, build_document(**before)).startswith("rc 0")
    refused = apply(kubectl, build_document(**after))
    assert refused.startswith("rc 1")
    assert field in refused
    assert AGAIN in refused


def test_the_rest_may_change(kubectl: Kubectl) -> None:
    """Also while the cache stays as it is."""
    model = HUB | {"cache": CACHE}
    assert apply(kubectl, build_document(model=model)).startswith("rc 0")
    stages = {"talker": {"replicas": 3}}
    assert apply(kubectl, build_document(model=model | {"revision": "v2"}, stages=stages)).startswith("rc 0")


def test_all_faults_are_shown_at_once(kubectl: Kubectl) -> None:
    """One try, one list."""
    document = build_document(
        "7b",
        model={"source": "hf://omni"},
        layout="Colocated",
        stages={"talker": {"replicas": 2, "kvMemory": "lots"}},
    )
    refused = apply(kubectl, document, "--dry-run=server")
    fields = ("metadata.name:", "spec.model.source:", "spec.stages:", "spec.stages.talker.kvMemory:")
    assert [field for field in fields if field not in refused] == []


def apply(kubectl: Kubectl, document: dict[str, Any], *flags: str) -> str:
    """The exit status and all that kubectl said."""
    done = kubectl.ask("apply", "--filename=-", *flags, document=yaml.safe_dump(document))
    return f"rc {done.returncode}\n{done.stdout}{done.stderr}"
