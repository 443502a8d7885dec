"""What a server's container may use: its stage's resources, or the sum of three. Pure, called by `pods`."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity
from tercet_wire.names import COLOCATED, GPU_RESOURCE, Stage
from tercet_wire.spec import OmniDeployment, ResourcesSpec

from tercet_operator.resources.triton import ServerPlan

Amounts = Mapping[str, str | int]


def build_resources(deployment: OmniDeployment, server: ServerPlan) -> dict[str, Any]:
    stages = deployment.spec.stages
    if server.kind == COLOCATED:
        together = [stages.of(stage).resources for stage in Stage]
    else:
        together = [stages.of(Stage(server.kind)).resources]
    limits, requests = _sum_limits(together), _sum_requests(together)
    if server.gpus:
        limits[GPU_RESOURCE] = requests[GPU_RESOURCE] = str(server.gpus)
    amounts = {"limits": limits, "requests": requests}
    return {side: amount for side, amount in amounts.items() if amount}


def build_fetch_resources(deployment: OmniDeployment, server: ServerPlan) -> dict[str, Any]:
    """The server's own, which costs nothing since the two never run at once, without its GPUs.

    A container that asks for no CPU gets next to none on a busy node.
    """
    amounts = build_resources(deployment, server)
    for amount in amounts.values():
        amount.pop(GPU_RESOURCE, None)
    return {side: amount for side, amount in amounts.items() if amount}


def _sum_limits(stages: list[ResourcesSpec]) -> dict[str, str]:
    """A limit that one of the stages does not have is none of the container's."""
    shared = set.intersection(*(set(stage.limits) for stage in stages))
    return _sum([{name: stage.limits[name] for name in shared} for stage in stages])


def _sum_requests(stages: list[ResourcesSpec]) -> dict[str, str]:
    return _sum([{**stage.limits, **stage.requests} for stage in stages])


def _sum(parts: list[dict[str, str | int]]) -> dict[str, str]:
    if len(parts) == 1:
        return {name: str(amount) for name, amount in sorted(parts[0].items())}
    names = sorted({name for part in parts for name in part})
    return {name: _write(sum((_read(part.get(name, 0)) for part in parts), Decimal(0))) for name in names}


def _read(amount: str | int) -> Decimal:
    return Decimal(parse_quantity(amount))  # type: ignore[no-untyped-call]


def _write(amount: Decimal) -> str:
    """Whole units where they are, else thousandths: the form that Kubernetes itself writes."""
    whole = int(amount)
    return str(whole) if whole == amount else f"{int(amount * 1000)}m"
