"""The gateway's process in a cluster: as the service account that its documentation describes."""

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from tercet_operator.resources.gateway import build_gateway_settings

from tests.cluster.gateway_cluster import BODY, put_deployment, put_server, read_kubeconfig, write_kubeconfig
from tests.cluster.kubectl import Kubectl
from tests.gateway.fake_triton import FakeTriton, serve_fake_triton
from tests.gateway.test_process import RSS_MIB, read_until, start

pytestmark = pytest.mark.usefixtures("crd")
GUIDE = Path(__file__).parents[2] / "docs" / "gateway-in-cluster.md"


def read_rules() -> list[dict[str, Any]]:
    """The RBAC rules as the guide shows them."""
    (block,) = re.findall(r"```yaml\n(rules:.*?)```", GUIDE.read_text(), re.DOTALL)
    rules: list[dict[str, Any]] = yaml.safe_load(block)["rules"]
    return rules


def write_restricted_kubeconfig(cluster: Path, kubectl: Kubectl, folder: Path) -> Path:
    """Of a service account that may do what the guide says, and nothing else."""
    kubectl.run("create", "serviceaccount", "gateway")
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "gateway"},
        "rules": read_rules(),
    }
    kubectl.run("apply", "--filename=-", document=json.dumps(role))
    account = f"--serviceaccount={kubectl.namespace}:gateway"
    kubectl.run("create", "rolebinding", "gateway", "--role=gateway", account)
    document = read_kubeconfig(cluster)
    document["users"][0]["user"] = {"token": kubectl.run("create", "token", "gateway").strip()}
    return write_kubeconfig(folder, document)


def write_settings(folder: Path, namespace: str, kubeconfig: Path) -> Path:
    settings = build_gateway_settings({}, host="127.0.0.1", port=0, metrics_port=0, namespaces=[namespace])
    settings["cluster"]["kubeconfig"] = str(kubeconfig)
    file = folder / "gateway.json"
    file.write_text(json.dumps(settings))
    return file


async def ask_until_answered(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while (await http.post("/v1/chat/completions", json=BODY)).status_code != 200:  # noqa: ASYNC110 - polls
            await asyncio.sleep(0.05)


async def test_process_serves_with_the_documented_rights(
    cluster: Path, kubectl: Kubectl, tmp_path: Path
) -> None:
    """It sees its namespace, stays small, and SIGTERM ends it while it watches."""
    kubeconfig = write_restricted_kubeconfig(cluster, kubectl, tmp_path)
    await put_deployment(kubectl)
    async with serve_fake_triton() as triton:
        await put_server(kubectl, triton)
        await serve_and_stop(triton, write_settings(tmp_path, kubectl.namespace, kubeconfig))


async def serve_and_stop(triton: FakeTriton, settings: Path) -> None:
    process = await start(settings)
    address = await read_until(process, r"running on (http://[\d.:]+)")
    async with httpx.AsyncClient(base_url=address[1], trust_env=False) as http:
        await ask_until_answered(http)
    assert psutil.Process(process.pid).memory_info().rss < RSS_MIB * 2**20
    process.send_signal(signal.SIGTERM)
    await read_until(process, "Application shutdown complete")
    async with asyncio.timeout(30):
        await process.communicate()
    assert process.returncode in (0, -signal.SIGTERM)
    assert triton.calls
