"""When an object has all that we want of it."""

from typing import Any

import pytest
from tercet_operator.comparing import is_part

CASES: dict[str, tuple[Any, Any, bool]] = {
    "the same": ({"a": 1}, {"a": 1}, True),
    "more is there": ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3}, True),
    "another value": ({"a": {"b": 1}}, {"a": {"b": 2}}, False),
    "a field is missing": ({"a": {"b": 1}}, {"a": {}}, False),
    "all is missing": ({"a": {"b": 1}}, {}, False),
    "empty and absent": ({"a": {}, "b": [], "c": "", "d": None}, {}, True),
    "zero and absent": ({"replicas": 0}, {}, True),
    "zero and one": ({"replicas": 0}, {"replicas": 1}, False),
    "an empty map that has been filled": ({"emptyDir": {}}, {"emptyDir": {"medium": "Memory"}}, True),
    "items with defaults": ({"l": [{"a": 1}]}, {"l": [{"a": 1, "b": 2}]}, True),
    "an item too many": ({"l": [1]}, {"l": [1, 2]}, False),
    "an item too few": ({"l": [1, 2]}, {"l": [1]}, False),
    "another order": ({"l": [1, 2]}, {"l": [2, 1]}, False),
    "a map where a list was": ({"l": [1]}, {"l": {"a": 1}}, False),
    "a list where a map was": ({"l": {"a": 1}}, {"l": [1]}, False),
    "numbers and texts": ({"a": 1}, {"a": "1"}, False),
    "amounts written another way": (
        {"limits": {"cpu": "1000m", "memory": "1024Mi"}},
        {"limits": {"cpu": "1", "memory": "1Gi"}},
        True,
    ),
    "an amount as a number": ({"limits": {"nvidia.com/gpu": 1}}, {"limits": {"nvidia.com/gpu": "1"}}, True),
    "another amount": ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "2"}}, False),
    "an amount that we do not give": ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "1", "x": "1"}}, False),
    "no amounts": ({"limits": {}}, {}, True),
    "a size written another way": ({"sizeLimit": "1024Mi"}, {"sizeLimit": "1Gi"}, True),
    "another size": ({"sizeLimit": "1Gi"}, {"sizeLimit": "2Gi"}, False),
    "no size any more": ({"sizeLimit": "1Gi"}, {}, False),
}


@pytest.mark.parametrize(("wanted", "there", "expected"), CASES.values(), ids=CASES)
def test_only_what_we_want_counts(wanted: Any, there: Any, expected: bool) -> None:
    """Defaults and other people's fields do not, nor how the API server writes an amount."""
    assert is_part(wanted, there) is expected
