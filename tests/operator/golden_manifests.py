"""The deployments of tests/operator/golden/; `python -m tests.operator.golden_manifests` writes them anew.

Look at the difference before it is committed: whatever changes in a pod makes a new generation of every
deployment out there when the operator is upgraded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tercet_cli.manifests import write_manifests
from tercet_operator.plan import render_children
from tercet_operator.resources.naming import Owner
from tercet_operator.settings import Images
from tercet_wire.spec import OmniDeployment

FOLDER: Final = Path(__file__).parent / "golden"
GPU: Final = {"resources": {"limits": {"nvidia.com/gpu": 1}}}

SPECS: Final[Mapping[str, Mapping[str, Any]]] = {
    "smallest": {"model": {"source": "demo://tiny"}, "layout": "Colocated"},
    "cached-on-gpus": {
        "model": {
            "source": "hf://Qwen/Qwen2.5-Omni-7B",
            "revision": "v1",
            "cache": {"size": "40Gi", "storageClassName": "fast", "accessMode": "ReadWriteMany"},
            "token": {"name": "hub-token"},
        },
        "stages": {"thinker": GPU | {"kvMemory": "16Gi"}, "talker": GPU | {"replicas": 2}, "code2wav": GPU},
        "rollout": {"strategy": "BlueGreen", "drainSeconds": 300, "startupSeconds": 3600},
    },
    "with-templates": {
        "model": {"source": "pvc://weights/qwen"},
        "layout": "Colocated",
        "podTemplate": {
            "metadata": {"annotations": {"team": "speech"}, "labels": {"team": "speech"}},
            "spec": {
                "nodeSelector": {"gpu": "true"},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "imagePullSecrets": [{"name": "registry"}],
                "containers": [{"name": "triton", "env": [{"name": "NCCL_DEBUG", "value": "WARN"}]}],
            },
        },
    },
}


def write_golden(name: str) -> str:
    document = {"metadata": {"name": name, "namespace": "speech"}, "spec": SPECS[name]}
    owner = Owner(namespace="speech", name=name, uid="00000000-0000-0000-0000-000000000001")
    return write_manifests(render_children(OmniDeployment.model_validate(document), owner, Images()))


if __name__ == "__main__":
    for name in SPECS:
        (FOLDER / f"{name}.yaml").write_text(write_golden(name))
