"""Manifests as YAML that people read: fields in the order they were built, files as blocks of lines.

Used by `render` and `differences`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Repeats what stands twice, where YAML would point to it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def write_manifest(manifest: Mapping[str, Any]) -> str:
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=110)


def write_manifests(manifests: Iterable[Mapping[str, Any]]) -> str:
    """A stream for `kubectl apply --filename -`."""
    return "".join(f"---\n{write_manifest(each)}" for each in manifests)
