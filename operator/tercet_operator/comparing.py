"""Whether an object already has all that we want of it: pure, called by `plan`.

The API server adds defaults and others add fields; what counts is that ours are there.
"""

from collections.abc import Mapping
from typing import Any, Final

from kubernetes.utils.quantity import parse_quantity

QUANTITIES: Final = frozenset({"limits", "requests"})
"""Maps of amounts, which the API server writes its own way: 1000m as 1."""
QUANTITY: Final = frozenset({"sizeLimit", "divisor"})
"""Single ones."""
SELECTORS: Final = frozenset(
    {"selector", "podSelector", "namespaceSelector", "labelSelector", "nodeSelector", "matchLabels"}
)
"""Where one more key selects something else."""


def is_part(wanted: Any, there: Any) -> bool:
    """Lists must be as long; what is empty and what is absent are the same, as they are to the API."""
    if there is None:
        return not wanted
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(
            _is_field_part(name, value, there.get(name)) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(there, list)
            and len(wanted) == len(there)
            and all(is_part(ours, theirs) for ours, theirs in zip(wanted, there, strict=True))
        )
    return bool(wanted == there)


def _is_field_part(name: str, wanted: Any, there: Any) -> bool:
    if name in QUANTITIES and isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return wanted.keys() == there.keys() and all(
            _are_same_amount(wanted[each], there[each]) for each in wanted
        )
    if name in QUANTITY and wanted is not None and there is not None:
        return _are_same_amount(wanted, there)
    if name in SELECTORS:
        return (wanted or {}) == (there or {})
    return is_part(wanted, there)


def _are_same_amount(wanted: Any, there: Any) -> bool:
    return bool(parse_quantity(wanted) == parse_quantity(there))  # type: ignore[no-untyped-call]
