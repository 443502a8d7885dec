"""`tercet render --diff` against a fake API server: what it says, its exit code, and that it only reads."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tercet_cli.main import app
from tercet_operator.plan import render_children
from tercet_operator.resources.naming import Owner
from tercet_operator.settings import Images
from tercet_wire.names import KIND, MANAGER
from tercet_wire.spec import OmniDeployment
from typer.testing import CliRunner, Result

from tests.operator.api_contract import build_resource
from tests.operator.fake_api import FakeApi
from tests.operator.faulty_api import fail_in_bursts

FILE = """
apiVersion: tercet.dev/v1alpha1
kind: OmniDeployment
metadata: {name: demo}
spec: {model: {source: 'demo://tiny'}, layout: Colocated}
"""
NAMESPACE = "speech"


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeApi]:
    """The cluster of the current kubeconfig, whose context names a namespace."""
    async with FakeApi().serve() as fake:
        kubeconfig = fake.write_kubeconfig(tmp_path / "kubeconfig", NAMESPACE)
        place = "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
        monkeypatch.setattr(place, str(kubeconfig))
        yield fake


async def compare(folder: Path, *options: str) -> Result:
    """In a thread of its own, since the command has its own event loop."""
    file = folder / "omni.yaml"
    file.write_text(FILE)
    arguments = ["render", "--diff", str(file), *options]
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, arguments))


def install(api: FakeApi) -> None:
    """All as the operator leaves it."""
    resource = api.objects.create(build_resource(NAMESPACE, layout="Colocated"))
    owner = Owner(namespace=NAMESPACE, name="demo", uid=resource["metadata"]["uid"])
    for each in render_children(OmniDeployment.model_validate(resource), owner, Images()):
        api.objects.apply(each, MANAGER)


async def test_what_is_not_there_is_created(api: FakeApi, tmp_path: Path) -> None:
    """Also where the resource itself has not been applied."""
    result = await compare(tmp_path)
    assert result.exit_code == 1
    assert [line.split()[:3] for line in result.stdout.splitlines()] == [
        ["+", "create", kind]
        for kind in ("NetworkPolicy", "PodDisruptionBudget", "ConfigMap", "Service", "Deployment")
    ]
    assert result.stderr == "5 to create\n"
    assert not api.writes


async def test_what_is_as_it_should_be_does_not_differ(api: FakeApi, tmp_path: Path) -> None:
    """In the namespace of the kubeconfig's context; in another one nothing is there."""
    install(api)
    result = await compare(tmp_path)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No difference.\n")
    assert (await compare(tmp_path, "--namespace=elsewhere")).stderr == "5 to create\n"


async def test_an_edit_is_shown(api: FakeApi, tmp_path: Path) -> None:
    """Another image: servers in place of servers, with the line that differs."""
    install(api)
    result = await compare(tmp_path, "--image-cpu=new:2")
    assert result.exit_code == 1
    assert "+        image: new:2" in result.stdout
    assert result.stderr == "3 to create, 3 to delete\n"


async def test_drift_is_shown(api: FakeApi, tmp_path: Path) -> None:
    """What somebody changed by hand would be changed back."""
    install(api)
    api.objects.patch(("PodDisruptionBudget", NAMESPACE, "demo-omni"), {"spec": {"maxUnavailable": 3}})
    result = await compare(tmp_path)
    assert "-  maxUnavailable: 3" in result.stdout
    assert result.stderr == "1 to change\n"


async def test_a_cluster_that_does_not_answer_is_an_error(api: FakeApi, tmp_path: Path) -> None:
    """And no difference: the exit code is another."""
    api.fault = fail_in_bursts(503, healthy=0)
    result = await compare(tmp_path)
    assert getattr(result.exception, "exit_code", None) == 2
    assert f"cannot read namespace {NAMESPACE} at {api.url}" in str(result.exception)
    assert not api.objects.list(KIND)
