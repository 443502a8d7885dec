"""docs/operator.md lists what the code has: reasons, metrics, variables, options, and nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import typer
from prometheus_client import CollectorRegistry
from pydantic.fields import FieldInfo
from tercet_cli.main import app
from tercet_operator import observed, status
from tercet_operator.metrics import Metrics
from tercet_operator.queue import WorkQueue
from tercet_operator.settings import PREFIX, OperatorSettings
from tercet_operator.store import Key, Store

PAGE = Path(__file__).parents[2] / "docs" / "operator.md"
VERDICTS = {"_yes", "_no", "Verdict", "Problem"}


def read_rows(heading: str) -> dict[str, list[str]]:
    """The table below a heading: the other cells by the first one's code."""
    _, _, rest = PAGE.read_text().partition(f"## {heading}\n")
    part = rest.partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if "|" in line]
    return {first.split("`")[1]: others for first, *others in rows if first.startswith("`")}


def iter_reasons(source: str) -> Iterator[str]:
    """The literal reasons that a module gives to conditions and problems."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in VERDICTS:
            named = [each.value for each in node.keywords if each.arg == "reason"]
            for value in [*named, *node.args[:1]]:
                if isinstance(value, ast.Constant):
                    yield str(value.value)


def test_every_reason_has_a_remedy() -> None:
    """Each that a condition may carry has one row, and no row is of a reason that is gone."""
    modules = (Path(str(module.__file__)).read_text() for module in (status, observed))
    reasons = {reason for source in modules for reason in iter_reasons(source)}
    rows = read_rows("Conditions and reasons")
    assert len(reasons) > 10
    assert set(rows) == reasons
    assert all(len(cells) == 3 and all(cells) for cells in rows.values())


def test_every_metric_has_a_row() -> None:
    """With its type."""
    registry: CollectorRegistry = Metrics(WorkQueue[Key](), Store()).registry
    exported = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name: metric.type
        for metric in registry.collect()
    }
    assert {name: cells[0] for name, cells in read_rows("Metrics").items()} == exported


def test_every_variable_has_a_row() -> None:
    """With its default, or what the default is made of."""

    def show(field: FieldInfo) -> str:
        if field.default_factory is not None:
            return str(field.description)
        return "" if field.default in {"", ()} else f"`{field.default}`"

    fields = OperatorSettings.model_fields.items()
    expected = {PREFIX + name.upper(): show(field) for name, field in fields}
    assert {name: cells[0] for name, cells in read_rows("Environment").items()} == expected


def test_every_option_of_render_has_a_row() -> None:
    """As typer shows them."""
    group = typer.main.get_command(app)
    command = group.get_command(typer.Context(group), "render")  # type: ignore[attr-defined]
    options = {option for each in command.params for option in each.opts if option.startswith("--")}
    assert set(read_rows("See it before it happens")) == options
