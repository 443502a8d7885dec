"""`tercet render`: the operator's manifests from a file, and what they would change."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tercet_cli.differences import Change, compare
from tercet_cli.errors import CommandError
from tercet_cli.main import app
from tercet_cli.manifests import write_manifests
from tercet_operator.plan import APPLIED_ANNOTATION, PRUNED, render_children
from tercet_operator.resources.naming import Owner
from tercet_operator.settings import Images
from tercet_wire.names import LABEL_GENERATION
from tercet_wire.spec import OmniDeployment
from typer.testing import CliRunner

EXAMPLES = Path(__file__).parents[2] / "examples"
APART = EXAMPLES / "disaggregated.yaml"
OWNER = Owner(namespace="speech", name="demo", uid="1")
IMAGES = Images()


def render(*arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(app, ["render", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return list(yaml.safe_load_all(result.stdout))


def build(*, images: Images = IMAGES, **spec: Any) -> list[dict[str, Any]]:
    document = {"metadata": {"name": "demo"}, "spec": {"model": {"source": "demo://tiny"}} | spec}
    return list(render_children(OmniDeployment.model_validate(document), OWNER, images))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_renders(path: Path) -> None:
    """Whole objects of the kinds that the operator writes, in the order it writes them."""
    manifests = render(str(path))
    assert {each["kind"] for each in manifests} <= PRUNED
    assert all(each["apiVersion"] and each["metadata"]["name"] for each in manifests)
    assert manifests[-1]["kind"] == "Deployment"


def test_a_server_for_each_stage_with_all_its_replicas() -> None:
    """As after a rollout, not as in its first step."""
    replicas = {
        each["metadata"]["labels"]["tercet.dev/stage"]: each["spec"]["replicas"]
        for each in build(stages={"talker": {"replicas": 3}})
        if each["kind"] == "Deployment"
    }
    assert replicas == {"thinker": 1, "talker": 3, "code2wav": 1}


def test_what_is_in_no_cluster_has_no_owner() -> None:
    """A reference without an id would be refused, and the digest is of something else."""
    for each in render(str(APART)):
        assert "ownerReferences" not in each["metadata"]
        assert APPLIED_ANNOTATION not in each["metadata"].get("annotations", {})


def test_options_choose_namespace_and_images() -> None:
    """With the operator's own defaults."""
    manifests = render(str(APART), "--namespace=speech", "--image-cpu=mine:1")
    assert {each["metadata"]["namespace"] for each in manifests} == {"speech"}
    pods = [each["spec"]["template"]["spec"] for each in manifests if each["kind"] == "Deployment"]
    assert {container["image"] for pod in pods for container in pod["containers"]} == {"mine:1"}
    assert {each["metadata"]["namespace"] for each in render(str(APART))} == {"default"}
    assert Images().engine in yaml.dump(render(str(EXAMPLES / "qwen-7b.yaml")))


def test_settings_stand_as_lines() -> None:
    """A file in a ConfigMap can be read, and reads back as it was."""
    settings = {"kind": "ConfigMap", "data": {"a.json": '{\n  "b": 1\n}'}}
    text = write_manifests([settings])
    assert '    {\n      "b": 1\n    }' in text
    assert yaml.safe_load(text) == settings


def test_a_faulty_file_is_named(tmp_path: Path) -> None:
    """In the words of all commands."""
    with pytest.raises(CommandError, match=r"nowhere\.yaml: No such file") as raised:
        CliRunner().invoke(app, ["render", str(tmp_path / "nowhere.yaml")], catch_exceptions=False)
    assert raised.value.exit_code == 1


def test_a_comparison_that_fails_is_no_difference(tmp_path: Path) -> None:
    """1 would say that something differs."""
    arguments = ["render", "--diff", str(tmp_path / "nowhere.yaml")]
    with pytest.raises(CommandError) as raised:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert raised.value.exit_code == 2


def test_without_a_kubeconfig_there_is_nothing_to_compare_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable."""
    monkeypatch.setattr(
        "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "no")
    )
    with pytest.raises(CommandError, match=r"no cluster to compare with: .*KUBECONFIG"):
        CliRunner().invoke(app, ["render", "--diff", str(APART)], catch_exceptions=False)


def test_the_same_is_no_change() -> None:
    """Whatever the API server and others have added."""
    there = [
        each
        | {
            "metadata": each["metadata"] | {"uid": "7", "resourceVersion": "1"},
            "spec": each.get("spec", {}) | {"paused": False},
            "status": {"replicas": 1},
        }
        for each in build()
    ]
    assert compare(build(), there) == []


def test_nothing_there_means_that_all_is_created() -> None:
    """In the order of the stream; there is nothing to compare lines with."""
    assert [(each.verb, each.name, each.lines) for each in compare(build(), [])] == [
        ("create", each["metadata"]["name"], ()) for each in build()
    ]


def test_a_field_that_somebody_changed_is_shown() -> None:
    """Of the object only what the operator writes."""
    (there,) = [each for each in build() if each["metadata"]["name"] == "demo-talker"]
    there = there | {"spec": there["spec"] | {"maxUnavailable": 2, "others": 1}}
    rest = [each for each in build() if each["metadata"]["name"] != "demo-talker"]
    (change,) = compare(build(), [*rest, there])
    assert (change.verb, change.kind, change.name) == ("change", "PodDisruptionBudget", "demo-talker")
    assert [line for line in change.lines if line[0] in "+-"] == [
        "-  maxUnavailable: 2",
        "+  maxUnavailable: 1",
    ]


def test_other_servers_are_shown_against_those_that_they_replace() -> None:
    """A change of the image makes another generation: three objects a stage come, three go."""
    changes = compare(build(images=Images(engine_cpu="new:2")), build(images=Images(engine_cpu="old:1")))
    created = [each for each in changes if each.verb == "create"]
    deleted = [each.name for each in changes if each.verb == "delete"]
    assert len(created) == len(deleted) == 9
    assert sorted({each.predecessor for each in created}) == sorted(set(deleted))
    (thinker,) = (each for each in created if each.kind == "Deployment" and "-thinker-" in each.name)
    assert "-        image: old:1" in thinker.lines
    assert "+        image: new:2" in thinker.lines


def test_only_earlier_generations_are_deleted() -> None:
    """As the operator does it: what is of no generation lives as long as the deployment."""
    old = {"kind": "Service", "metadata": {"name": "a", "labels": {LABEL_GENERATION: "old"}}}
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "demo-model"}}
    assert compare([], [old, claim]) == [Change(verb="delete", kind="Service", name="a")]
