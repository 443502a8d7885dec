"""The CustomResourceDefinition: complete, small, and the same as the chart's copy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tercet_operator.crd import build_crd, render_crd
from tercet_wire.spec import OmniDeployment, SpecPart
from tercet_wire.status import OmniStatus

COPY = Path(__file__).parents[2] / "charts" / "tercet" / "files" / "omnideployments.yaml"
SIZE_MAX = 60_000
"""A Helm release holds 1 MB in all, and a resource is read by people too."""

Node = dict[str, Any]  # JSON schema


def read_schema() -> Node:
    (version,) = build_crd()["spec"]["versions"]
    schema: Node = version["schema"]["openAPIV3Schema"]
    return schema


def iter_nodes(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every field by its path, as kubectl explain names it."""
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from iter_nodes(child, f"{path}.{name}")
    for nested in ("items", "additionalProperties"):
        if nested in node:
            yield from iter_nodes(node[nested], path)


FIELDS = dict(iter_nodes(read_schema()))


def test_the_charts_copy_is_what_the_builder_writes() -> None:
    """Write it anew: python -m tercet_operator.crd > charts/tercet/files/omnideployments.yaml."""
    assert COPY.read_text() == render_crd()


def test_the_copy_is_small_and_plain() -> None:
    """Well below what Helm and people can carry, without YAML's references."""
    text = COPY.read_text()
    assert len(text.encode()) < SIZE_MAX
    assert yaml.safe_load(text) == build_crd()
    assert "&id" not in text


@pytest.mark.parametrize("path", [path for path in FIELDS if not path.startswith(".metadata")])
def test_every_field_is_described(path: str) -> None:
    """`kubectl explain` reads like documentation."""
    assert FIELDS[path].get("description", "").strip()


OPTIONAL = {".spec.model.cache", ".spec.model.token"}
"""Objects that are there or not."""
REQUIRED = {".spec.model", ".spec.model.source", ".spec.model.cache.size", ".spec.model.token.name"}
NO_DEFAULT = {".spec.model.cache.storageClassName", ".spec.stages.*.threads"}
"""Left out, these mean something that no value says."""


@pytest.mark.parametrize(
    "path", [path for path in FIELDS if path.startswith(".spec.") and ".podTemplate." not in path]
)
def test_every_optional_field_has_a_default(path: str) -> None:
    """The stored object says what it means, and a new default never changes an old deployment."""
    names = [
        name if path.count(".stages.") == 0 or index != 3 else "*"
        for index, name in enumerate(path.split("."))
    ]
    expected = ".".join(names) not in OPTIONAL | REQUIRED | NO_DEFAULT
    assert ("default" in FIELDS[path]) is expected


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        (
            ".spec.layout",
            {"type": "string", "enum": ["Disaggregated", "Colocated"], "default": "Disaggregated"},
        ),
        (".spec.stages.talker.engine", {"type": "string", "enum": ["torch"], "default": "torch"}),
        (".spec.stages.code2wav", {"type": "object", "default": {}}),
        (".spec.stages.thinker.threads", {"type": "integer", "minimum": 1}),
        (".spec.stages.thinker.queueSeconds", {"type": "number", "minimum": 0.0, "exclusiveMinimum": True}),
        (".spec.stages.thinker.devices", {"type": "array", "maxItems": 16, "default": []}),
        (
            ".spec.stages.thinker.resources.limits",
            {"maxProperties": 8, "additionalProperties": {"x-kubernetes-int-or-string": True}},
        ),
        (".spec.podTemplate.spec", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
        (".spec.model.cache", {"type": "object", "required": ["size"]}),
        (
            ".status.conditions",
            {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
        (".status.conditions.lastTransitionTime", {"type": "string", "format": "date-time"}),
        (".status.stages.code2wav.ready", {"type": "integer"}),
    ],
)
def test_fields_are_written_in_the_api_servers_dialect(path: str, schema: Node) -> None:
    """One row for each way in which pydantic and Kubernetes differ."""
    assert {key: FIELDS[path].get(key) for key in schema} == schema


def test_nothing_is_left_of_json_schema() -> None:
    """What the API server refuses, or takes without meaning."""
    foreign = {"$ref", "$defs", "title", "anyOf", "pattern", "propertyNames", "const"}
    assert [path for path, node in FIELDS.items() if foreign & node.keys()] == []


@pytest.mark.parametrize(
    ("part", "model"), [(".spec", OmniDeployment.model_fields["spec"].annotation), (".status", OmniStatus)]
)
def test_all_fields_of_the_classes_are_there(part: str, model: type[SpecPart]) -> None:
    """By the names that stand in YAML."""
    names = {field.alias or name for name, field in model.model_fields.items()}
    assert names == FIELDS[part]["properties"].keys()


def test_what_kubectl_get_shows() -> None:
    """NAME comes by itself."""
    (version,) = build_crd()["spec"]["versions"]
    columns = [column["name"].upper() for column in version["additionalPrinterColumns"]]
    assert columns == ["READY", "REASON", "STAGES", "URL", "AGE"]
    assert version["subresources"] == {"status": {}}
