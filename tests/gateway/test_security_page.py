"""docs/security.md quotes the gateway's bounds as they are."""

import re
from pathlib import Path

from tercet_gateway.connections import HEAD_BYTES, BoundedHttp
from tercet_gateway.settings import Limits, MediaLimits, Timeouts

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
PARTS = {"limits": Limits(), "media": MediaLimits(), "timeouts": Timeouts()}


def render(name: str) -> str:
    part, _, field = name.partition(".")
    value = getattr(PARTS[part], field)
    return f"{value // 2**20} MiB" if field.endswith("bytes") else f"{value:,.0f}"


def test_every_quoted_bound_is_the_default() -> None:
    """By name and value."""
    quoted = dict(re.findall(r"^\| `((?:limits|media|timeouts)\.\w+)` \| ([^|]+) \|", PAGE.read_text(), re.M))
    assert len(quoted) > 10
    assert quoted == {name: render(name) for name in quoted}


def test_headers_are_bounded_as_quoted() -> None:
    """They have no setting."""
    assert f"Headers: {HEAD_BYTES // 2**10} KiB, and {BoundedHttp.head_s:.0f} s to arrive" in PAGE.read_text()
