"""What a server's container may use."""

from typing import Any

import pytest
from tercet_operator.resources.computing import build_resources
from tercet_operator.resources.triton import build_servers
from tercet_wire.spec import OmniDeployment

GPU = "nvidia.com/gpu"

CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "nothing asked for": ("Disaggregated", {}, {}),
    "a stage's own, word for word": (
        "Disaggregated",
        {"thinker": {"resources": {"limits": {"memory": "2Gi"}, "requests": {"cpu": "1500m"}}}},
        {"limits": {"memory": "2Gi"}, "requests": {"cpu": "1500m", "memory": "2Gi"}},
    ),
    "GPUs on both sides, as Kubernetes wants them": (
        "Disaggregated",
        {"thinker": {"resources": {"limits": {GPU: 2}}}},
        {"limits": {GPU: "2"}, "requests": {GPU: "2"}},
    ),
    "others' are not the thinker's": ("Disaggregated", {"talker": {"resources": {"limits": {"cpu": 8}}}}, {}),
    "the sum of three": (
        "Colocated",
        {
            "thinker": {"resources": {"limits": {"cpu": "1500m", "memory": "2Gi"}}},
            "talker": {"resources": {"limits": {"cpu": 1, "memory": "512Mi"}}},
            "code2wav": {"resources": {"limits": {"cpu": "0.25", "memory": "512Mi"}}},
        },
        {
            "limits": {"cpu": "2750m", "memory": "3221225472"},
            "requests": {"cpu": "2750m", "memory": "3221225472"},
        },
    ),
    "a limit that one of three lacks is none": (
        "Colocated",
        {
            "thinker": {"resources": {"limits": {"cpu": 1, "memory": "1Gi"}}},
            "talker": {"resources": {"limits": {"memory": "1Gi"}}},
            "code2wav": {"resources": {"limits": {"memory": "1Gi"}}},
        },
        {"limits": {"memory": "3221225472"}, "requests": {"cpu": "1", "memory": "3221225472"}},
    ),
    "GPUs that devices name and share": (
        "Colocated",
        {
            "thinker": {"devices": ["cuda:0"]},
            "talker": {"devices": ["cuda:1"]},
            "code2wav": {"devices": ["cuda:1"]},
        },
        {"limits": {GPU: "2"}, "requests": {GPU: "2"}},
    ),
}


@pytest.mark.parametrize(("layout", "stages", "resources"), CASES.values(), ids=CASES)
def test_a_container_gets_what_its_stages_ask_for(
    layout: str, stages: dict[str, Any], resources: dict[str, Any]
) -> None:
    """Of the deployment's first kind of server: the thinker's, or the one for all three."""
    deployment = OmniDeployment.model_validate(
        {
            "metadata": {"name": "demo"},
            "spec": {"model": {"source": "demo://tiny"}, "layout": layout, "stages": stages},
        }
    )
    server, *_ = build_servers(deployment, checkpoint="/m", cores=3)
    assert build_resources(deployment, server) == resources
