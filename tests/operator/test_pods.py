"""Pods of servers: as written down in golden/, safe by the restricted level, and open to pod templates."""

from typing import Any

import pytest
import yaml
from tercet_operator.resources.servers import build_deployment, build_generation
from tercet_operator.settings import Images
from tercet_wire.names import LABEL_DEPLOYMENT, LABEL_GENERATION, LABEL_STAGE
from tercet_wire.spec import OmniDeployment

from tests.operator.cluster_objects import OWNER, build_resource
from tests.operator.golden_manifests import FOLDER, SPECS, write_golden

HUB = {"source": "hf://a/b", "token": {"name": "hub", "key": "t"}}


def build_templates(images: Images | None = None, **spec: Any) -> dict[str, dict[str, Any]]:
    """PodTemplateSpecs by kind of server."""
    deployment = OmniDeployment.model_validate(build_resource(**spec))
    generation = build_generation(deployment, images or Images())
    return {
        kind.name: build_deployment(OWNER, kind, generation.digest, replicas=1, startup_s=60)["spec"][
            "template"
        ]
        for kind in generation.kinds
    }


def build_pod(**spec: Any) -> dict[str, Any]:
    """The pod spec of a Colocated server."""
    pod: dict[str, Any] = build_templates(layout="Colocated", **spec)["omni"]["spec"]
    return pod


def find_digest(images: Images | None = None, **spec: Any) -> str:
    deployment = OmniDeployment.model_validate(build_resource(**spec))
    return build_generation(deployment, images or Images()).digest


@pytest.mark.parametrize("name", SPECS)
def test_manifests_are_as_written_down(name: str) -> None:
    """A change is made on purpose: see golden_manifests.py."""
    assert write_golden(name) == (FOLDER / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", SPECS)
def test_pods_pass_the_restricted_level(name: str) -> None:
    """Every demand of the Pod Security Standard, on every container; and no token of the API server."""
    manifests = yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text())
    pods = [each["spec"]["template"]["spec"] for each in manifests if each["kind"] == "Deployment"]
    assert pods
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for volume in pod["volumes"]:
            assert set(volume) - {"name"} <= {"emptyDir", "configMap", "persistentVolumeClaim"}
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert not any("hostPort" in port for port in container.get("ports", []))


@pytest.mark.parametrize(
    ("source", "fetches"),
    [("hf://a/b", True), ("demo://tiny", True), ("pvc://c/p", False), ("file:///m", False)],
)
def test_only_what_is_not_there_is_fetched(source: str, fetches: bool) -> None:
    """Before the server starts, and into the volume that it reads."""
    pod = build_pod(model={"source": source})
    assert [each["name"] for each in pod.get("initContainers", [])] == ["fetch"] * fetches


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        (HUB, "HF_TOKEN"),
        (HUB | {"source": "modelscope://a/b"}, "MODELSCOPE_API_TOKEN"),
        ({"source": "hf://a/b"}, None),
    ],
    ids=["hf", "modelscope", "none"],
)
def test_the_token_reaches_the_fetch_alone(model: dict[str, Any], variable: str | None) -> None:
    """By reference; the server needs none."""
    pod = build_pod(model=model)
    (fetch,) = pod["initContainers"]
    secrets = {each["name"]: each["valueFrom"] for each in fetch["env"] if "valueFrom" in each}
    reference = {"secretKeyRef": {"name": "hub", "key": "t"}}
    assert secrets == ({variable: reference} if variable else {})
    assert all("valueFrom" not in each for each in pod["containers"][0]["env"])


def test_a_pod_is_killed_only_after_its_drain() -> None:
    """The grace period has room for the drain, its pause and Triton's exit."""
    pod = build_pod(rollout={"drainSeconds": 100})
    command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[-1] == "--limit=100"
    assert pod["terminationGracePeriodSeconds"] > 100 + 10


@pytest.mark.parametrize(("startup_s", "failures"), [(30, 6), (31, 7), (1800, 360)])
def test_the_startup_probe_is_as_patient_as_the_spec(startup_s: int, failures: int) -> None:
    """Rounded up to whole probes."""
    probe = build_pod(rollout={"startupSeconds": startup_s})["containers"][0]["startupProbe"]
    assert (probe["failureThreshold"], probe["periodSeconds"]) == (failures, 5)


def test_ready_means_that_the_model_is() -> None:
    """A Colocated server's ensemble is ready when all its stages are."""
    ready = {
        kind: template["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"]
        for layout in ("Colocated", "Disaggregated")
        for kind, template in build_templates(layout=layout).items()
    }
    assert ready == {kind: f"/v2/models/{kind}/ready" for kind in ("omni", "thinker", "talker", "code2wav")}


def test_images_follow_the_gpus() -> None:
    """Of each stage on its own."""
    images = Images(engine="gpu:1", engine_cpu="cpu:1", pull_policy="Never")
    stages = {"talker": {"resources": {"limits": {"nvidia.com/gpu": 1}}}}
    templates = build_templates(images, stages=stages)
    triton = {kind: each["spec"]["containers"][0] for kind, each in templates.items()}
    assert {kind: each["image"] for kind, each in triton.items()} == {
        "thinker": "cpu:1", "talker": "gpu:1", "code2wav": "cpu:1",
    }  # fmt: skip
    assert {each["imagePullPolicy"] for each in triton.values()} == {"Never"}


def test_a_stages_template_lies_over_the_deployments() -> None:
    """And only over its own pods."""
    templates = build_templates(
        podTemplate={"spec": {"priorityClassName": "low", "nodeSelector": {"a": "b"}}},
        stages={"talker": {"podTemplate": {"spec": {"priorityClassName": "high"}}}},
    )
    classes = {kind: each["spec"]["priorityClassName"] for kind, each in templates.items()}
    assert classes == {"thinker": "low", "talker": "high", "code2wav": "low"}
    assert templates["talker"]["spec"]["nodeSelector"] == {"a": "b"}


def test_a_template_may_have_its_own_spread() -> None:
    """In place of ours, which only prefers other nodes."""
    (ours,) = build_pod()["topologySpreadConstraints"]
    assert ours["whenUnsatisfiable"] == "ScheduleAnyway"
    assert ours["labelSelector"]["matchLabels"][LABEL_STAGE] == "omni"
    theirs = [{"topologyKey": "zone"}]
    pod = build_pod(podTemplate={"spec": {"topologySpreadConstraints": theirs}})
    assert pod["topologySpreadConstraints"] == theirs


def test_labels_of_a_pod_are_those_of_its_generation() -> None:
    """Beside those of the template."""
    template = build_templates(podTemplate={"metadata": {"labels": {"team": "x"}}})["talker"]
    labels = template["metadata"]["labels"]
    assert labels["team"] == "x"
    assert (labels[LABEL_DEPLOYMENT], labels[LABEL_STAGE]) == ("demo", "talker")
    assert labels[LABEL_GENERATION] == find_digest(podTemplate={"metadata": {"labels": {"team": "x"}}})


@pytest.mark.parametrize(
    "change",
    [
        {"speech": {"firstCodes": 9}},
        {"model": {"source": "demo://tiny", "revision": "b"}},
        {"stages": {"code2wav": {"maxTurns": 7}}},
        {"podTemplate": {"metadata": {"annotations": {"a": "b"}}}},
        {"rollout": {"drainSeconds": 7}},
    ],
    ids=str,
)
def test_what_changes_a_pod_makes_a_generation(change: dict[str, Any]) -> None:
    """Of the whole deployment, whichever kind of server it is in."""
    assert find_digest(**change) != find_digest()


@pytest.mark.parametrize(
    "change", [{"stages": {"talker": {"replicas": 5}}}, {"rollout": {"strategy": "InPlace"}}, {}], ids=str
)
def test_what_changes_no_pod_makes_none(change: dict[str, Any]) -> None:
    """Scaling, and how the next change will be carried out."""
    assert find_digest(**change) == find_digest()


def test_another_image_makes_a_generation() -> None:
    """So that an upgrade of the operator is a rollout like any other."""
    assert find_digest(Images(engine_cpu="new:2")) != find_digest()
