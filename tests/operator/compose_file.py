"""compose.yaml as data: what its variables stand for when nobody sets them, and sizes as numbers."""

import re
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
_VARIABLE: Final = re.compile(r"\$\{\w+:-([^}]*)\}")


def read_services() -> dict[str, dict[str, Any]]:
    text = _VARIABLE.sub(r"\1", (ROOT / "compose.yaml").read_text())
    services: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return services


def parse_size(text: str) -> int:
    """Compose's gigabytes are powers of two."""
    return int(text.removesuffix("gb")) * 2**30
