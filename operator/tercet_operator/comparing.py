"""Whether an object already has all that we want of it: pure, called by `plan`.

The API server adds defaults and others add fields; what counts is that ours are there.
"""

from collections.abc import Mapping
from typing import Any, Final

from kubernetes.utils.quantity import parse_quantity

QUANTITIES: Final = frozenset({"limits", "requests"})
"""Fields whose values the API server writes its own way: 1000m as 1."""


def is_part(wanted: Any, there: Any) -> bool:
    """Lists must be as long; what is empty and what is absent are the same, as they are to the API."""
    if there is None:
        return not wanted
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(
            _are_same_amounts(value, there.get(name))
            if name in QUANTITIES
            else is_part(value, there.get(name))
            for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(there, list)
            and len(wanted) == len(there)
            and all(is_part(ours, theirs) for ours, theirs in zip(wanted, there, strict=True))
        )
    return bool(wanted == there)


def _are_same_amounts(wanted: Any, there: Any) -> bool:
    if not isinstance(wanted, Mapping) or not isinstance(there, Mapping):
        return is_part(wanted, there)
    return wanted.keys() == there.keys() and all(
        parse_quantity(wanted[name]) == parse_quantity(there[name])  # type: ignore[no-untyped-call]
        for name in wanted
    )
