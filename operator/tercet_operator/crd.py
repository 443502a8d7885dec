"""The CustomResourceDefinition of OmniDeployments, made from the same classes that `tercet up` reads.

`python -m tercet_operator.crd` prints it; charts/tercet/files/omnideployments.yaml is that output, and a test
compares the two. Fields and rules are `tercet_wire`'s: nothing about them is decided here.
"""

import sys
from typing import Any, Final

import yaml
from tercet_wire.names import API_GROUP, API_VERSION, KIND, PLURAL
from tercet_wire.refusals import NAME
from tercet_wire.rules import VALIDATIONS
from tercet_wire.spec import OmniDeployment, OmniSpec
from tercet_wire.status import OmniStatus

from tercet_operator.structural import Schema, build_structural

_COLUMNS: Final = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
    ("Stages", "string", ".status.summary"),
    ("URL", "string", ".status.url"),
    ("Age", "date", ".metadata.creationTimestamp"),
)


def build_crd() -> dict[str, Any]:  # Any: a manifest
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": KIND.lower(),
        "shortNames": ["omni"],
        "categories": ["tercet"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{API_GROUP}"},
        "spec": {"group": API_GROUP, "names": names, "scope": "Namespaced", "versions": [_build_version()]},
    }


def render_crd() -> str:
    return yaml.dump(build_crd(), Dumper=_PlainDumper, sort_keys=False, width=160)


def _build_version() -> Schema:
    return {
        "name": API_VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path} for name, kind, path in _COLUMNS
        ],
        "schema": {"openAPIV3Schema": _build_root()},
    }


def _build_root() -> Schema:
    spec = {"description": "What is to be served, and how."} | build_structural(OmniSpec, defaults=True)
    # The operator writes all of the status that it means; a default would look like something it said.
    status = {"description": "What is served."} | build_structural(OmniStatus, defaults=False)
    return {
        "type": "object",
        "description": OmniDeployment.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{API_GROUP}/{API_VERSION}"},
            "kind": {"type": "string", "description": KIND},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": spec,
            "status": status,
        },
        VALIDATIONS: [_build_name_rule()],
    }


def _build_name_rule() -> Schema:
    rule = NAME.to_schema()
    # metadata can be read at the root alone.
    return rule | {
        "rule": rule["rule"].replace("self", "self.metadata.name", 1),
        "fieldPath": ".metadata.name",
    }


class _PlainDumper(yaml.SafeDumper):
    """Writes equal parts out, where YAML would refer to the first."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


if __name__ == "__main__":
    sys.stdout.write(render_crd())
