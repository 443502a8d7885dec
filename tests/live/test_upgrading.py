"""From the release before to this one and back while somebody listens; and then nothing is left."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.waiting import wait_for
from tests.live.conftest import CHART, LONG_WINDED, RELEASE, Release, build_demo, make_namespace
from tests.live.traffic import listen

HOME = "tercet-upgraded"
CRD = "crd/omnideployments.tercet.dev"
OF_A_NAMESPACE = (
    "deployments,pods,services,configmaps,secrets,serviceaccounts,roles,rolebindings,"
    "networkpolicies,poddisruptionbudgets,horizontalpodautoscalers"
)
OF_THE_CLUSTER = "clusterroles,clusterrolebindings"
GATEWAYS_ROLL = "--set=gateway.settings.timeouts.total_s=601"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """This chart with an older version, whose resource shows no URL yet."""
    chart = tmp_path / "tercet"
    shutil.copytree(CHART, chart)
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about | {"version": "0.0.9"}))
    resource = chart / "files" / "omnideployments.yaml"
    document = yaml.safe_load(resource.read_text())
    for version in document["spec"]["versions"]:
        columns = version["additionalPrinterColumns"]
        version["additionalPrinterColumns"] = [each for each in columns if each["name"] != "URL"]
    resource.write_text(yaml.safe_dump(document))
    return chart


@pytest.fixture
def installed(earlier: Path) -> Iterator[Release]:
    with make_namespace(HOME) as release:
        release.install(chart=earlier)
        yield release
        release.system.ask("delete", "namespace", HOME, "--wait=false")


@pytest.mark.timeout(900)
async def test_nobody_hears_an_upgrade_or_a_rollback(installed: Release) -> None:
    """Every sample is right throughout; the resource goes with the chart; an uninstall leaves only that."""
    installed.apply(build_demo(model=LONG_WINDED))
    await asyncio.to_thread(installed.wait_settled, "demo")
    assert "URL" not in read_columns(installed)
    async with listen(installed.url, listeners=1) as traffic:
        await asyncio.to_thread(installed.install, GATEWAYS_ROLL)
        assert "URL" in read_columns(installed)
        await asyncio.to_thread(installed.helm, "rollback", RELEASE, "--wait", "--timeout=4m")
        assert "URL" not in read_columns(installed)
    print(f"{len(traffic.turns)} turns through an upgrade and a rollback")
    assert traffic.turns
    assert traffic.faults() == []

    await asyncio.to_thread(installed.helm, "uninstall", RELEASE, "--wait")
    await asyncio.to_thread(wait_for, lambda: list_remains(installed) == [], "nothing is left", within_s=90)
    assert installed.kubectl.ask("get", CRD).returncode == 0
    assert installed.kubectl.ask("get", "omni", "demo").returncode == 0, "what people wrote stays"


def read_columns(release: Release) -> list[str]:
    document = json.loads(release.kubectl.run("get", CRD, "--output=json"))
    return [each["name"] for each in document["spec"]["versions"][0]["additionalPrinterColumns"]]


def list_remains(release: Release) -> list[str]:
    """By the label that helm's own objects have."""
    selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
    here = release.system.run("get", OF_A_NAMESPACE, selector, "--output=name").split()
    everywhere = release.system.run("get", OF_THE_CLUSTER, selector, "--output=json")
    mine = [
        each["metadata"]["name"]
        for each in json.loads(everywhere)["items"]
        if each["metadata"]["annotations"].get("meta.helm.sh/release-namespace") == HOME
    ]
    return here + mine
