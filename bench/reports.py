"""What a benchmark hands back: figures in a table, and its claims with what was measured.

Pure, but for `print_report` and `write_report`, which `__main__` calls.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.line_plot import Plot, render_plot


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A target: `measured` has to be at least or at most `target`."""

    text: str
    measured: float
    target: float
    at_least: bool

    @property
    def is_met(self) -> bool:
        return self.measured >= self.target if self.at_least else self.measured <= self.target

    @property
    def target_text(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.target:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`columns` head the rows; `raw` is everything that was measured, for the JSON file; `plots` by name."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    claims: Sequence[Claim] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON
    plots: Mapping[str, Plot] = field(default_factory=dict)


def print_report(report: Report, console: Console) -> None:
    table = Table(*report.columns, title=report.title, title_justify="left")
    for row in report.rows:
        table.add_row(*row)
    console.print(table)
    if report.claims:
        claims = Table("claim", "measured", "target", "")
        for claim in report.claims:
            verdict = "met" if claim.is_met else "NOT MET"
            claims.add_row(claim.text, f"{claim.measured:.2f}", claim.target_text, verdict)
        console.print(claims)


def write_report(report: Report, setup: Mapping[str, Any], folder: Path) -> Path:
    """The JSON file, which is returned, and an SVG of each plot."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.name}.json"
    claims = [{**asdict(claim), "met": claim.is_met} for claim in report.claims]
    document = {"name": report.name, "setup": setup, "claims": claims, "measured": report.raw}
    path.write_text(json.dumps(document, indent=2) + "\n")
    for name, plot in report.plots.items():
        (folder / f"{name}.svg").write_text(render_plot(plot))
    return path
