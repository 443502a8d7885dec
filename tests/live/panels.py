"""The chart's dashboards, asked of a Prometheus and drawn: every panel with the lines that Grafana shows."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import cycle
from typing import Any, Final

from tests.live.conftest import CHART
from tests.live.prometheus import INTERVAL_S, Prometheus

DASHBOARDS: Final = tuple(sorted((CHART / "files" / "dashboards").glob("*.json")))
VARIABLES: Final = {"$namespace": ".*", "$model": ".*", "$deployment": ".*", "$__rate_interval": "1m"}
COLUMNS: Final = 3
WIDTH: Final = 310
HEIGHT: Final = 150
ROOM: Final = 45
"""Below the curve, for three lines of legend."""
LEGEND: Final = 21
"""Characters of a name."""
COLOURS: Final = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """`lines`: by legend; `unanswered`: its queries that found nothing."""

    title: str
    unit: str
    lines: dict[str, list[Point]]
    unanswered: list[str]

    @property
    def highest(self) -> float:
        return max((value for points in self.lines.values() for _, value in points), default=0.0)


async def ask_panels(dashboard: dict[str, Any], prometheus: Prometheus, until: float) -> list[Panel]:
    panels = [panel for panel in dashboard["panels"] if panel.get("targets")]
    return [await _ask(panel, prometheus, until) for panel in panels]


async def _ask(panel: dict[str, Any], prometheus: Prometheus, until: float) -> Panel:
    lines: dict[str, list[Point]] = {}
    unanswered = []
    for target in panel["targets"]:
        expression = target["expr"]
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        answered = False
        for series in await prometheus.query(expression, until):
            points = [(float(at), float(value)) for at, value in series["values"]]
            points = [point for point in points if math.isfinite(point[1])]
            answered = answered or bool(points)
            lines[_name(target.get("legendFormat", ""), series["metric"])] = points
        if not answered:
            unanswered.append(expression)
    unit = panel["fieldConfig"]["defaults"].get("unit", "")
    return Panel(title=panel["title"], unit=unit, lines=lines, unanswered=unanswered)


def _name(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), legend)


def draw(title: str, panels: list[Panel], began: float, until: float) -> str:
    """An SVG document, the panels side by side."""
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * WIDTH, 30 + rows * (HEIGHT + ROOM)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="10">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="18" font-size="14">{escape(title)}, {round(until - began)} s</text>',
    ]
    for number, panel in enumerate(panels):
        left, top = WIDTH * (number % COLUMNS), 30 + (HEIGHT + ROOM) * (number // COLUMNS)
        lines.append(f'<g transform="translate({left} {top})">{_draw_panel(panel, began, until)}</g>')
    return "\n".join([*lines, "</svg>\n"])


def _draw_panel(panel: Panel, began: float, until: float) -> str:
    most = max(panel.highest, 0.0)
    plot, right = HEIGHT - 40, WIDTH - 20

    def place(point: Point) -> str:
        at, value = point
        x = 10 + (WIDTH - 30) * (at - began) / (until - began)
        return f"{x:.1f},{20 + plot * (1 - max(0.0, value) / (most or 1.0)):.1f}"

    parts = [
        f'<text x="10" y="12" font-weight="bold">{escape(panel.title)}</text>',
        f'<text x="{right - 4}" y="31" text-anchor="end" fill="#666666">up to {most:.3g} {panel.unit}</text>',
        f'<rect x="10" y="20" width="{WIDTH - 30}" height="{plot}" fill="#f6f6f6"/>',
    ]
    for number, (colour, (name, points)) in enumerate(zip(cycle(COLOURS), panel.lines.items(), strict=False)):
        for piece in _split(points):
            path = " ".join(map(place, piece))
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
        if number < 2 * COLUMNS:
            x, y = 10 + 145 * (number % 2), HEIGHT - 8 + 12 * (number // 2)
            shown = name if len(name) <= LEGEND else f"…{name[1 - LEGEND :]}"
            parts.append(f'<text x="{x}" y="{y}" fill="{colour}">{escape(shown)}</text>')
    return "".join(parts)


def _split(points: list[Point]) -> Iterator[list[Point]]:
    """Where nothing was measured there is no line."""
    piece: list[Point] = []
    for point in points:
        if piece and point[0] - piece[-1][0] > 2 * INTERVAL_S:
            yield piece
            piece = []
        piece.append(point)
    yield piece


def read_dashboards() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in DASHBOARDS]
