"""The chart before a real API server: its objects are accepted as they stand, without a warning."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendering import CI_VALUES, NAMESPACE, ask, render, render_text, run
from tests.cluster.conftest import cluster
from tests.cluster.kubectl import Kubectl

__all__ = ["cluster"]  # the fixture

FOREIGN = ("monitoring.coreos.com", "gateway.networking.k8s.io")
"""Kinds that the chart makes only where their own operators are installed."""


@pytest.fixture(scope="module")
def kubectl(cluster: Path) -> Iterator[Kubectl]:
    """In namespaces at the restricted Pod Security level, which are deleted at the end."""
    admin = Kubectl(kubeconfig=cluster, namespace=NAMESPACE)
    for name in (NAMESPACE, "music"):
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        admin.run("apply", "--filename=-", document=json.dumps(document))
    yield admin
    admin.run("delete", "namespace", NAMESPACE, "music", "--wait=false")


@pytest.fixture(scope="module")
def schemas(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The API server's own description of each kind, as kubeconform reads it."""
    folder = tmp_path_factory.mktemp("schemas")
    definitions = json.loads(kubectl.run("get", "--raw", "/openapi/v2"))["definitions"]
    for definition in definitions.values():
        if "properties" in definition and "additionalProperties" not in definition:
            definition["additionalProperties"] = False
    allow_texts_for_numbers(definitions)
    (folder / "all.json").write_text(json.dumps({"definitions": definitions}))
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            group = kind["group"].partition(".")[0]
            file = "-".join(filter(None, (kind["kind"].lower(), group, kind["version"]))) + ".json"
            (folder / file).write_text(json.dumps({"$ref": f"all.json#/definitions/{name}"}))
    return folder


def allow_texts_for_numbers(definitions: dict[str, Any]) -> None:
    """OpenAPI 2 has no word for what may be either."""
    definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = {"type": ["string", "integer"]}
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"type": ["string", "number"]}


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_kubeconform_accepts_every_object(schemas: Path, values: Path) -> None:
    """Strictly: a field that the kind does not have is an error."""
    objects = render(values)
    known = [each for each in objects if not each["apiVersion"].startswith(FOREIGN)]
    report = run(
        "kubeconform",
        "-strict",
        "-summary",
        "-skip",
        ",".join({each["kind"] for each in objects} - {each["kind"] for each in known}),
        "-schema-location",
        f"{schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
        "-",
        document=render_text(values),
    )
    assert f"Valid: {len(known)}, Invalid: 0, Errors: 0, Skipped: {len(objects) - len(known)}" in report


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_the_api_server_accepts_every_object(kubectl: Kubectl, values: Path) -> None:
    """And admits the pods to a restricted namespace."""
    objects = [each for each in render(values) if not each["apiVersion"].startswith(FOREIGN)]
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    apply = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename=-")
    done = ask("kubectl", "--kubeconfig", kubectl.kubeconfig, *apply, document=document)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert done.stdout.count("serverside-applied") == len(objects)
