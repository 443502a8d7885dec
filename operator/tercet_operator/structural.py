"""From a pydantic JSON schema to the structural OpenAPI schema that a CustomResourceDefinition takes: pure.

Used by `crd` alone. References are written out, types are single, objects default field by field. Knows JSON
schema and the API server's dialect, and nothing of OmniDeployments.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]
"""A part of a schema document: JSON."""

PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
_KEPT: Final = (
    "description",
    "type",
    "format",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
)


def build_structural(model: type[BaseModel], *, defaults: bool) -> Schema:
    """`defaults`: whether the API server fills in what is left out."""
    document = model.model_json_schema(by_alias=True)
    return _Writer(document.get("$defs", {}), defaults=defaults).write(document)


class _Writer:
    def __init__(self, definitions: Mapping[str, Schema], *, defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def write(self, node: Schema) -> Schema:
        node = self._resolve(node)
        if _is_int_or_string(node):
            return {INT_OR_STRING: True}
        return (
            {key: node[key] for key in _KEPT if key in node}
            | _write_what_openapi_lacks(node)
            | self._write_default(node)
            | self._write_children(node)
        )

    def _resolve(self, node: Schema) -> Schema:
        """Follow references, and drop the null of an optional field; what stands beside them goes first."""
        while True:
            if "$ref" in node:
                target = self._definitions[node["$ref"].rpartition("/")[2]]
            elif variants := [each for each in node.get("anyOf", []) if each.get("type") != "null"]:
                if len(variants) > 1:
                    return node
                target = variants[0]
            else:
                return node
            node = target | {key: value for key, value in node.items() if key not in {"$ref", "anyOf"}}

    def _write_default(self, node: Schema) -> Schema:
        if not self._defaults or node.get("default") is None:
            return {}
        # An object is made of its fields' own defaults, so that each stands in one place.
        return {"default": {} if node.get("type") == "object" else node["default"]}

    def _write_children(self, node: Schema) -> Schema:
        written: Schema = {}
        if "items" in node:
            written["items"] = self.write(node["items"])
        if properties := self._list_properties(node):
            written["properties"] = {name: self.write(child) for name, child in properties.items()}
        rest = node.get("additionalProperties")
        if isinstance(rest, dict) and not properties:
            written["additionalProperties"] = self.write(rest)
        elif rest is True:
            written[PRESERVE] = True
        return written

    def _list_properties(self, node: Schema) -> Schema:
        """Fields by name; a mapping whose keys are an enum has them as fields."""
        if "propertyNames" in node:
            keys = self._resolve(node["propertyNames"])["enum"]
            return dict.fromkeys(keys, node["additionalProperties"])
        properties: Schema = node.get("properties", {})
        return properties


def _is_int_or_string(node: Schema) -> bool:
    return {each.get("type") for each in node.get("anyOf", [])} == {"integer", "string"}


def _write_what_openapi_lacks(node: Schema) -> Schema:
    """A choice of one, and a bound that is a number and a flag."""
    written: Schema = {}
    if "const" in node:
        written["enum"] = [node["const"]]
    if "exclusiveMinimum" in node:
        written |= {"minimum": node["exclusiveMinimum"], "exclusiveMinimum": True}
    return written
