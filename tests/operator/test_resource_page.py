"""docs/omnideployment.md says of each field what the CRD says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tercet_operator.crd import build_crd
from tercet_wire.names import Stage
from tercet_wire.spec import OmniDeployment

PAGE = Path(__file__).parents[2] / "docs" / "omnideployment.md"

Node = dict[str, Any]  # JSON schema


def iter_rows(node: Node, path: str) -> Iterator[str]:
    """A line of the table for each field; the three stages have the same ones."""
    for name, child in node["properties"].items():
        if name in (Stage.TALKER, Stage.CODE2WAV):
            continue
        field = f"{path}.{name}".replace(".thinker", ".<stage>")
        if "properties" not in child or "podTemplate" in field:
            shown = describe_default(child) or ("required" if name in node.get("required", []) else "")
            yield f"| `{field}` | {describe_type(child)} | {shown} | {child['description']} |"
        else:
            yield from iter_rows(child, field)
        if "items" in child and "properties" in child["items"]:
            yield from iter_rows(child["items"], f"{field}[]")


def describe_default(node: Node) -> str:
    return f"`{json.dumps(node['default'])}`" if "default" in node else ""


def describe_type(node: Node) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    low, high = node.get("minimum"), node.get("maximum")
    match low, high:
        case None, None:
            return str(node["type"])
        case _, None:
            above = "above" if node.get("exclusiveMinimum") else "from"
            return f"{node['type']} {above} {low:g}"
        case _:
            return f"{node['type']} {low:g} to {high:g}"


def render_table(part: str) -> str:
    (version,) = build_crd()["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"][part]
    return "\n".join(iter_rows(schema, part))


def test_the_page_lists_every_field_of_the_spec() -> None:
    """With type, default and meaning; the assertion shows the rows that belong there."""
    assert [row for row in render_table("spec").splitlines() if row not in PAGE.read_text()] == []


def test_the_page_lists_every_field_of_the_status() -> None:
    """The same for what the operator writes."""
    assert [row for row in render_table("status").splitlines() if row not in PAGE.read_text()] == []


def test_the_page_lists_no_field_that_is_gone() -> None:
    """A row is of the spec, of the status, or of another table."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith(("| `spec.", "| `status."))]
    known = render_table("spec").splitlines() + render_table("status").splitlines()
    assert [row for row in rows if row not in known] == []


def test_the_pages_example_is_valid() -> None:
    """The resource on the page can be applied."""
    block = PAGE.read_text().split("```yaml\n")[1].split("```")[0]
    assert OmniDeployment.model_validate(yaml.safe_load(block)).metadata.name == "assistant"
