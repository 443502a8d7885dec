"""What a deployment has in the cluster that kubectl would talk to: read, never written.

Called by `render`. Uses the operator's own side of the API.
"""

from dataclasses import dataclass
from typing import Any

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from tercet_operator.cluster import ApiError, Cluster
from tercet_operator.plan import PRUNED
from tercet_wire.names import KIND, LABEL_DEPLOYMENT

from tercet_cli.errors import CommandError


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """`uid` is empty where the deployment has not been applied."""

    namespace: str
    uid: str
    children: tuple[dict[str, Any], ...]


async def read_deployed(name: str, namespace: str | None) -> Deployed:
    """`namespace`: None for the one of the kubeconfig's context."""
    configuration = Configuration()
    try:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        namespace = namespace or _find_namespace()
    except config.ConfigException as error:
        raise CommandError(
            f"no cluster to compare with: {error}: set KUBECONFIG, or choose a context with "
            "`kubectl config use-context`"
        ) from error
    async with ApiClient(configuration) as client:
        try:
            return await _read(Cluster(client), name, namespace)
        except ApiError as error:
            raise CommandError(
                f"cannot read namespace {namespace} at {configuration.host}: {error}"
            ) from error


async def _read(cluster: Cluster, name: str, namespace: str) -> Deployed:
    owner = await cluster.get(KIND, namespace, name)
    selector = f"{LABEL_DEPLOYMENT}={name}"
    listings = [await cluster.list(kind, namespace, selector) for kind in sorted(PRUNED)]
    children = tuple(child for listing in listings for child in listing.items)
    uid = str(owner["metadata"]["uid"]) if owner else ""
    return Deployed(namespace=namespace, uid=uid, children=children)


def _find_namespace() -> str:
    _, context = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
    return str(context["context"].get("namespace") or "default")
