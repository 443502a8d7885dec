"""The real API server keeps the contract that the operator, and its fake, were written to."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from tercet_operator.cluster import Cluster

from tests.operator.api_contract import CONTRACT, name_check


@pytest.mark.usefixtures("crd")
@pytest.mark.parametrize("check", CONTRACT, ids=name_check)
async def test_the_api_server_keeps_the_contract(
    cluster: Path, namespace: str, check: Callable[[Cluster, str], Awaitable[None]]
) -> None:
    """The same assertions, the same client."""
    configuration = Configuration()
    await config.load_kube_config(str(cluster), client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with ApiClient(configuration) as client:
        await check(Cluster(client), namespace)
