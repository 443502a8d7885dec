"""What keeps servers from being disturbed: PodDisruptionBudgets and the NetworkPolicy. Pure."""

from typing import Any, Final

from tercet_wire.names import LABEL_DEPLOYMENT, TRITON_GRPC_PORT, TRITON_METRICS_PORT

from tercet_operator.resources.naming import Owner, kind_name, kind_selector

NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
"""A label that the API server gives every namespace."""


def build_disruption_budget(owner: Owner, kind: str) -> dict[str, Any]:
    """One at a time, also where there is only one: a budget of none would hold up every node drain."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": owner.metadata(kind_name(owner.name, kind), owner.kind_labels(kind)),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": kind_selector(owner.name, kind)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def build_network_policy(owner: Owner, gateways_in: str = "") -> dict[str, Any]:
    """Turns come from gateways alone; metrics may be read by all. Probes come from the node and pass.

    `gateways_in`: their namespace. Where it is not known, pods that look like gateways pass from anywhere.
    """
    home = {"matchLabels": {NAMESPACE_NAME: gateways_in}} if gateways_in else {}
    gateways = {
        "namespaceSelector": home,
        "podSelector": {
            "matchLabels": {"app.kubernetes.io/name": "tercet", "app.kubernetes.io/component": "gateway"}
        },
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": owner.metadata(owner.name, owner.labels()),
        "spec": {
            "podSelector": {"matchLabels": {LABEL_DEPLOYMENT: owner.name}},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [gateways], "ports": [{"port": TRITON_GRPC_PORT, "protocol": "TCP"}]},
                {"ports": [{"port": TRITON_METRICS_PORT, "protocol": "TCP"}]},
            ],
        },
    }
