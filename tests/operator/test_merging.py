"""A user's pod template over ours."""

from copy import deepcopy
from typing import Any

import pytest
from tercet_operator.resources.merging import LIST_KEYS, merge

TRITON = {"name": "triton", "image": "a", "env": [{"name": "A", "value": "1"}]}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "nothing": ({"a": 1}, {}, {"a": 1}),
    "another field": ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
    "another value": ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
    "a field away": ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
    "a field away that is not there": ({"a": 1}, {"b": None}, {"a": 1}),
    "nothing in a new part": ({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
    "a variable more": (
        {"containers": [TRITON]},
        {"containers": [{"name": "triton", "env": [{"name": "B", "value": "2"}]}]},
        {"containers": [TRITON | {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]},
    ),
    "another variable's value": (
        {"containers": [TRITON]},
        {"containers": [{"name": "triton", "env": [{"name": "A", "value": "2"}]}]},
        {"containers": [TRITON | {"env": [{"name": "A", "value": "2"}]}]},
    ),
    "a container more": (
        {"containers": [TRITON]},
        {"containers": [{"name": "proxy", "image": "b"}]},
        {"containers": [TRITON, {"name": "proxy", "image": "b"}]},
    ),
    "containers where none were": ({}, {"containers": [{"name": "x"}]}, {"containers": [{"name": "x"}]}),
    "a mount by its path": (
        {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]},
        {"volumeMounts": [{"name": "big", "mountPath": "/tmp"}]},
        {"volumeMounts": [{"name": "big", "mountPath": "/tmp"}]},
    ),
    "a list without keys": ({"args": ["--a"]}, {"args": ["--b"]}, {"args": ["--b"]}),
    "items that lack the key": (
        {"volumes": [{"name": "a"}]},
        {"volumes": [{"emptyDir": {}}]},
        {"volumes": [{"emptyDir": {}}]},
    ),
    "maps without keys": (
        {"tolerations": [{"key": "a"}]},
        {"tolerations": [{"key": "b"}]},
        {"tolerations": [{"key": "b"}]},
    ),
}


@pytest.mark.parametrize(("ours", "theirs", "merged"), CASES.values(), ids=CASES)
def test_templates_merge_as_kubectl_would(
    ours: dict[str, Any], theirs: dict[str, Any], merged: dict[str, Any]
) -> None:
    """Maps by field, known lists by key, the rest as a whole; what went in stays as it was."""
    before = deepcopy((ours, theirs))
    assert merge(ours, theirs) == merged
    assert (ours, theirs) == before


@pytest.mark.parametrize(("field", "key"), LIST_KEYS.items())
def test_every_keyed_list_merges_by_its_key(field: str, key: str) -> None:
    """In our order, with theirs that are new behind."""
    ours = [{key: "a", "x": 1}, {key: "b"}]
    theirs = [{key: "c"}, {key: "a", "y": 2}]
    assert merge({field: ours}, {field: theirs}) == {
        field: [{key: "a", "x": 1, "y": 2}, {key: "b"}, {key: "c"}]
    }
