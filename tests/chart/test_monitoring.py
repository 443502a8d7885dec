"""Alerts and dashboards: they ask for metrics that exist, in PromQL that parses, and each alert works."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from tercet_gateway.metrics import Metrics as GatewayMetrics
from tercet_operator.announcing import WAITING
from tercet_operator.metrics import Metrics as OperatorMetrics
from tercet_operator.queue import WorkQueue
from tercet_operator.store import Key, Store
from tercet_wire.names import TURNS_METRIC

from tests.chart.rendering import CHART, NAMESPACE, ROOT, Manifest, find, render, run

TRITON_METRICS = {
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_gpu_utilization",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_memory_total_bytes",
    "nv_cpu_utilization",
}
"""Those of Triton's that are used here, as its documentation names them."""
PAGES = sorted((CHART / "files" / "dashboards").glob("*.json"))
CASES = sorted((CHART / "prometheus-tests").glob("*.yaml"))
RUNBOOKS = "https://example.com/runbooks"
METRIC = re.compile(r"\b(?:tercet|nv)_[a-z0-9_]+")


def read_rules() -> Manifest:
    """As they are when alerts with links to their runbooks are all that was turned on."""
    values = {"monitoring": {"rules": {"enabled": True, "runbooks": RUNBOOKS}}}
    rule = find(render(values), "PrometheusRule", "tercet")
    return {"groups": rule["spec"]["groups"]}


def read_alerts() -> list[Manifest]:
    return [alert for group in read_rules()["groups"] for alert in group["rules"]]


def iter_queries(page: Path) -> Iterator[tuple[str, str]]:
    """Panel and query."""
    for panel in json.loads(page.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def list_metrics() -> set[str]:
    """Names of all series that Tercet exports, and of Triton's that are used."""
    registries = (GatewayMetrics().registry, OperatorMetrics(WorkQueue[Key](), Store()).registry)
    return set(chain(*map(iter_series, registries))) | TRITON_METRICS | {TURNS_METRIC}


def iter_series(registry: CollectorRegistry) -> Iterator[str]:
    for family in registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
        yield from (family.name + suffix for suffix in suffixes.get(family.type, [""]))


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A folder with the rules as Prometheus reads them, beside their tests."""
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(read_rules()))
    for case in CASES:
        text = case.read_text()
        assert f'namespace="{NAMESPACE}"' in text  # the one that the chart is rendered for
        (tmp_path / case.name).write_text(text)
    return tmp_path


def test_every_alert_fires_and_rests_as_it_should(rules: Path) -> None:
    """By promtool, over prometheus-tests/."""
    run("promtool", "check", "rules", rules / "alerts.yaml")
    run("promtool", "test", "rules", *(rules / case.name for case in CASES))


def test_every_alert_is_tested_both_ways() -> None:
    """There is a moment at which it fires, and one at which it does not."""
    seen = {
        (check["alertname"], bool(check["exp_alerts"]))
        for case in CASES
        for test in yaml.safe_load(case.read_text())["tests"]
        for check in test["alert_rule_test"]
    }
    names = [alert["alert"] for alert in read_alerts()]
    assert {(name, fires) for name in names for fires in (True, False)} - seen == set()


def test_every_alert_has_a_runbook() -> None:
    """Its link ends with a heading of docs/runbooks.md, and no heading is left over."""
    page = (ROOT / "docs" / "runbooks.md").read_text()
    headings = re.findall(r"^## (Tercet\w+)$", page, re.MULTILINE)
    links = [alert["annotations"]["runbook_url"] for alert in read_alerts()]
    assert links == [f"{RUNBOOKS}#{heading.lower()}" for heading in headings]


def test_every_alert_says_how_bad_it_is() -> None:
    """Critical: somebody is called. Warning: somebody looks in working hours."""
    assert {alert["labels"]["severity"] for alert in read_alerts()} == {"critical", "warning"}
    assert [alert["alert"] for alert in read_alerts() if not alert["for"]] == []


def test_every_alert_can_be_disabled() -> None:
    """The schema knows their names."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    rules: Any = schema["properties"]["monitoring"]["properties"]["rules"]
    assert rules["properties"]["disabled"]["items"]["enum"] == [alert["alert"] for alert in read_alerts()]


def test_waiting_is_not_broken() -> None:
    """What the operator calls a stage on the way wakes nobody at night, but is not forgotten either."""
    expressions = {alert["alert"]: alert["expr"] for alert in read_alerts()}
    (spared,) = re.findall(r'reason!~"([^"]+)"', expressions["TercetDeploymentBroken"])
    (watched,) = re.findall(r'reason=~"([^"]+)"', expressions["TercetDeploymentNotServing"])
    assert set(spared.split("|")) == WAITING | {"Serving", "Unknown"}
    assert set(spared.split("|")) - set(watched.split("|")) == {"Serving", "ScaledToZero"}


def test_alerts_ask_for_metrics_that_exist() -> None:
    """A misspelt name would never fire."""
    asked = {name for alert in read_alerts() for name in METRIC.findall(alert["expr"])}
    assert asked - list_metrics() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_panels_ask_for_metrics_that_exist(page: Path) -> None:
    """An empty panel is worse than none."""
    variables = re.findall(r"label_values\((\w+)", page.read_text())
    asked = {name for _, query in iter_queries(page) for name in METRIC.findall(query)}
    assert (asked | set(variables)) - list_metrics() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_panels_can_be_read_by_prometheus(page: Path, tmp_path: Path) -> None:
    """Every query parses, once Grafana has put its variables in."""
    queries = [
        re.sub(r"\$(namespace|model|deployment)", ".*", query.replace("$__rate_interval", "1m"))
        for _, query in iter_queries(page)
    ]
    records = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": records}]}))
    assert f"{len(queries)} rules found" in run("promtool", "check", "rules", tmp_path / "queries.yaml")


def test_dashboards_are_complete() -> None:
    """Each has an address of its own, panels with one number each, and a title that says whose it is."""
    pages = [json.loads(page.read_text()) for page in PAGES]
    assert len({page["uid"] for page in pages}) == len(pages) == 3
    for page in pages:
        numbers = [panel["id"] for panel in page["panels"]]
        assert len(set(numbers)) == len(numbers)
        assert page["title"].startswith("Tercet / ")
