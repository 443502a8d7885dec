#!/usr/bin/env python3
"""Writes charts/tercet/README.md from the comments of values.yaml; `--check` only says whether it is current.

A comment that begins with `# --` belongs to the key below it. README.md.tpl has what stands around the table.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).parents[1] / "charts" / "tercet"
PLACE: Final = "{{ values }}"
_KEY: Final = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9]*):")
_COMMENT: Final = re.compile(r"^ *# (?P<first>-- )?(?P<text>.*)$")


def iter_comments(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Path of each commented key, and its comment in one line."""
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        if found := _COMMENT.match(line):
            if found["first"]:
                comment = [found["text"]]
            elif comment:
                comment.append(found["text"])
        elif found := _KEY.match(line):
            path = [*path[: len(found["indent"]) // 2], found["key"]]
            if comment:
                yield tuple(path), " ".join(comment)
            comment = []


def render_table(text: str) -> str:
    values = yaml.safe_load(text)
    rows = ["| key | default | meaning |", "| --- | --- | --- |"]
    for path, comment in iter_comments(text):
        default = json.dumps(find(values, path), separators=(", ", ": "))
        rows.append(f"| `{'.'.join(path)}` | `{default}` | {comment} |")
    return "\n".join(rows)


def find(values: Any, path: tuple[str, ...]) -> Any:  # YAML of any shape
    for key in path:
        values = values[key]
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not current")
    table = render_table((CHART / "values.yaml").read_text())
    wanted = (CHART / "README.md.tpl").read_text().replace(PLACE, table)
    page = CHART / "README.md"
    if not parser.parse_args().check:
        page.write_text(wanted)
    elif not page.is_file() or page.read_text() != wanted:
        sys.exit("charts/tercet/README.md is not current: run hack/chart_readme.py")


if __name__ == "__main__":
    main()
