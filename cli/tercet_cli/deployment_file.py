"""From omni.yaml to an OmniDeployment, or to a list of what is wrong with it.

Used by the commands that take the file. The rules are in `tercet_wire.spec`; this module only finds the
document and words the faults.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from tercet_wire.names import KIND
from tercet_wire.spec import OmniDeployment

from tercet_cli.errors import CommandError


def read_deployment(path: Path) -> OmniDeployment:
    try:
        documents = list(yaml.safe_load_all(path.read_text()))
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise CommandError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return OmniDeployment.model_validate(_find_deployment(documents, path))
    except ValidationError as error:
        faults = "\n".join(f"  {_describe(fault)}" for fault in error.errors())
        raise CommandError(f"{path} cannot be used:\n{faults}") from error


def _find_deployment(documents: Iterable[Any], path: Path) -> Any:
    found = [each for each in documents if isinstance(each, dict) and each.get("kind") == KIND]
    if len(found) != 1:
        raise CommandError(f"{path} holds {len(found)} documents of kind {KIND}: give a file with one")
    return found[0]


def _describe(fault: ErrorDetails) -> str:
    field = ".".join(map(str, fault["loc"])) or "the document"
    match fault["type"]:
        case "extra_forbidden":
            return f"{field}: no such field{_suggest(fault['loc'])}"
        case "missing":
            return f"{field}: must be given"
        case _:
            return f"{field}: {fault['msg'].removeprefix('Value error, ')}{_quote(fault['input'])}"


def _quote(given: object) -> str:
    """What stands in the file; a fault of a whole part says itself which of its fields disagree."""
    return "" if isinstance(given, dict) else f", not {given!r}"


def _suggest(place: tuple[int | str, ...]) -> str:
    *parents, name = place
    model: Any = OmniDeployment
    for parent in parents:
        model = _fields_of(model).get(str(parent))
    near = difflib.get_close_matches(str(name), _fields_of(model), n=1)
    return (
        f": did you mean {near[0]}?" if near else f": remove it, or use one of {', '.join(_fields_of(model))}"
    )


def _fields_of(model: Any) -> dict[str, Any]:
    """The fields of a part of the spec by their names in YAML, with the types of those that are parts too."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return {}
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}
