"""What an API server adds to objects of ours when it stores them, as far as our manifests touch it.

Enough for pure tests of a second look; tests/cluster/ has the real one.
"""

from copy import deepcopy
from itertools import count
from typing import Any

from kubernetes.utils.quantity import parse_quantity

Manifest = dict[str, Any]
_VERSIONS = count(100)


def store(manifest: Manifest) -> Manifest:
    """The object as a GET would show it after our apply."""
    stored = deepcopy(manifest)
    stored["metadata"] |= {
        "uid": f"{stored['kind']}-{stored['metadata']['name']}",
        "resourceVersion": str(next(_VERSIONS)),
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"manager": "tercet-operator"}],
    }
    default(stored)
    return stored


def default(manifest: Manifest) -> None:
    """In place; again and again gives the same."""
    fill = {"Deployment": _default_deployment, "Service": _default_service}.get(manifest["kind"])
    if fill is not None:
        fill(manifest["spec"])


def _default_deployment(spec: Manifest) -> None:
    spec["strategy"] = {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    }
    template = spec["template"]
    template["metadata"]["creationTimestamp"] = None
    pod = template["spec"]
    if not pod.get("initContainers"):
        pod.pop("initContainers", None)
    pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        _default_container(container)
    for volume in pod["volumes"]:
        if "configMap" in volume:
            volume["configMap"]["defaultMode"] = 420


def _default_container(container: Manifest) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    for amounts in container["resources"].values():
        amounts |= {name: _write_amount(amount) for name, amount in amounts.items()}
    for mount in container.get("volumeMounts", []):
        if mount.get("readOnly") is False:
            del mount["readOnly"]  # false is what absent means
    for variable in container.get("env", []):
        if variable.get("value") == "":
            del variable["value"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if probe in container:
            container[probe] |= {"successThreshold": 1}
            container[probe]["httpGet"]["scheme"] = "HTTP"


def _write_amount(amount: str) -> str:
    number = parse_quantity(amount)  # type: ignore[no-untyped-call]
    return str(int(number)) if number == int(number) and amount.endswith("m") else amount


def _default_service(spec: Manifest) -> None:
    spec |= {"clusterIPs": ["None"], "type": "ClusterIP", "sessionAffinity": "None", "ipFamilies": ["IPv4"]}
