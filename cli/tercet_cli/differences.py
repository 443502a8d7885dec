"""What would change in a cluster: objects as the operator wants them against those that are there. Pure.

Called by `render`. Only fields that the operator writes are compared, in its own way; what the API server and
others add is theirs.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tercet_operator.comparing import is_part
from tercet_operator.plan import MADE_ONCE
from tercet_wire.names import LABEL_GENERATION, LABEL_STAGE

from tercet_cli.manifests import write_manifest

Manifest = Mapping[str, Any]
Ref = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    verb: Literal["create", "change", "delete"]
    kind: str
    name: str
    lines: tuple[str, ...] = ()
    """Of a unified diff."""
    predecessor: str = ""
    """The object of an earlier generation that the new one stands in for."""


def compare(wanted: Sequence[Manifest], there: Iterable[Manifest]) -> list[Change]:
    known = {_refer(each): each for each in there}
    kept = {_refer(each) for each in wanted}
    gone = {
        ref: each for ref, each in known.items() if ref not in kept and _find_label(each, LABEL_GENERATION)
    }
    changes = []
    for each in wanted:
        ref = _refer(each)
        if ref not in known:
            changes.append(_create(each, gone.values()))
        elif each["kind"] not in MADE_ONCE and not is_part(each, known[ref]):
            changes.append(_change(each, known[ref]))
    return changes + [Change(verb="delete", kind=kind, name=name) for kind, name in gone]


def _create(wanted: Manifest, gone: Iterable[Manifest]) -> Change:
    """Servers are not changed but replaced: what differs is shown against one that will go."""
    kind, name = _refer(wanted)
    stage = _find_label(wanted, LABEL_STAGE)
    alike = (each for each in gone if (each["kind"], _find_label(each, LABEL_STAGE)) == (kind, stage))
    before = next(alike, None)
    if before is None:
        return Change(verb="create", kind=kind, name=name)
    lines = _diff(_pick(wanted, before), wanted)
    return Change(
        verb="create", kind=kind, name=name, lines=lines, predecessor=str(before["metadata"]["name"])
    )


def _change(wanted: Manifest, there: Manifest) -> Change:
    kind, name = _refer(wanted)
    return Change(verb="change", kind=kind, name=name, lines=_diff(_pick(wanted, there), wanted))


def _diff(there: Manifest, wanted: Manifest) -> tuple[str, ...]:
    before, after = (write_manifest(each).splitlines() for each in (there, wanted))
    return tuple(difflib.unified_diff(before, after, lineterm=""))[2:]


def _pick(wanted: Any, there: Any) -> Any:
    """Of what is there that which the operator writes, in its words where they mean the same."""
    if is_part(wanted, there):
        return wanted
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return {name: _pick(value, there[name]) for name, value in wanted.items() if name in there}
    if isinstance(wanted, list) and isinstance(there, list):
        return [_pick(*pair) for pair in zip(wanted, there, strict=False)] + there[len(wanted) :]
    return there


def _refer(manifest: Manifest) -> Ref:
    return manifest["kind"], manifest["metadata"]["name"]


def _find_label(manifest: Manifest, name: str) -> str:
    return str(manifest["metadata"].get("labels", {}).get(name, ""))
