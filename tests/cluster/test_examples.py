"""What the repository shows works on a real API server: examples, kubectl explain, columns, defaults."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tercet_operator.crd import build_crd
from tercet_wire.spec import OmniDeployment

from tests.cluster.kubectl import Kubectl
from tests.wire.mistakes import build_document

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("crd")

EXAMPLES = sorted((*ROOT.glob("examples/*.yaml"), *ROOT.glob("bench/*.yaml")))
KUBECONFORM = (
    Path(os.environ.get("KUBE_BIN") or Path.home() / ".cache/tercet/kube/v1.35.4/bin") / "kubeconform"
)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_accepted(kubectl: Kubectl, example: Path) -> None:
    """Strictly: an unknown field would be an error."""
    assert "created (server dry run)" in kubectl.run("apply", "--dry-run=server", f"--filename={example}")


def test_every_example_passes_kubeconform(tmp_path: Path) -> None:
    """The same files, checked without a cluster by the schema that the CRD carries."""
    (version,) = build_crd()["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"] | {"additionalProperties": False}
    (tmp_path / "omnideployment-tercet-v1alpha1.json").write_text(json.dumps(schema))
    location = f"{tmp_path}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    done = subprocess.run(
        [KUBECONFORM, "-strict", "-summary", "-schema-location", location, *EXAMPLES],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert f"Valid: {len(EXAMPLES)}, Invalid: 0, Errors: 0, Skipped: 0" in done.stdout, done.stdout


def test_explain_reads_like_documentation(kubectl: Kubectl) -> None:
    """By the short name, down to the last field."""
    fields = kubectl.run("explain", "omni.spec.stages", "--recursive")
    assert [name for name in ("code2wav", "kvMemory", "queueSeconds", "limits") if name not in fields] == []
    assert "Turns stepped at once; more wait." in kubectl.run("explain", "omni.spec.stages.talker.maxTurns")


def test_what_is_left_out_is_filled_in(kubectl: Kubectl) -> None:
    """The stored spec is the one that the classes read from the short file, value by value."""
    document = build_document()
    kubectl.run("apply", "--filename=-", document=yaml.safe_dump(document))
    stored = json.loads(kubectl.run("get", "omni", "demo", "--output=json"))
    assert OmniDeployment.model_validate(pick(stored)) == OmniDeployment.model_validate(
        document | {"metadata": stored["metadata"]}
    )
    assert stored["spec"]["stages"]["code2wav"]["resources"] == {"limits": {}, "requests": {}}
    assert stored["spec"]["stages"]["talker"]["kvMemory"] == "512Mi"
    assert stored["spec"]["rollout"] == {"strategy": "Surge", "drainSeconds": 120, "startupSeconds": 1800}


def test_pod_templates_pass_through(kubectl: Kubectl) -> None:
    """Fields that the CRD does not name are stored as they stand."""
    template = {
        "metadata": {"annotations": {"team": "speech"}},
        "spec": {
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "containers": [{"name": "triton", "env": [{"name": "A", "value": "b"}]}],
        },
    }
    kubectl.run("apply", "--filename=-", document=yaml.safe_dump(build_document(podTemplate=template)))
    assert json.loads(kubectl.run("get", "omni", "demo", "--output=json"))["spec"]["podTemplate"] == template


def test_what_get_shows(kubectl: Kubectl) -> None:
    """Ready, its reason, the stages and the address at one glance, once the status says them."""
    kubectl.run("apply", "--filename=-", document=yaml.safe_dump(build_document()))
    status = {
        "conditions": [build_condition("Progressing", "Rolling"), build_condition("Ready", "Serving")],
        "summary": "1/1 1/1 1/1",
        "url": "http://gateway:8000/v1",
    }
    kubectl.run(
        "patch",
        "omni",
        "demo",
        "--subresource=status",
        "--type=merge",
        "--patch",
        json.dumps({"status": status}),
    )
    header, row = kubectl.run("get", "tercet").splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "STAGES", "URL", "AGE"]
    assert row.split()[:-1] == ["demo", "True", "Serving", "1/1", "1/1", "1/1", "http://gateway:8000/v1"]


def test_the_spec_is_not_written_through_the_status(kubectl: Kubectl) -> None:
    """The operator's writes to the status never start another generation."""
    kubectl.run("apply", "--filename=-", document=yaml.safe_dump(build_document()))
    patch = json.dumps({"spec": {"speech": {"voice": "Ethan"}}, "status": {"url": "http://a"}})
    kubectl.run("patch", "omni", "demo", "--subresource=status", "--type=merge", "--patch", patch)
    stored = json.loads(kubectl.run("get", "omni", "demo", "--output=json"))
    assert (stored["spec"]["speech"]["voice"], stored["metadata"]["generation"]) == ("Chelsie", 1)


def build_condition(kind: str, reason: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": "",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


def pick(stored: dict[str, Any]) -> dict[str, Any]:
    """Without the status, which is the operator's."""
    return {key: stored[key] for key in ("apiVersion", "kind", "metadata", "spec")}
