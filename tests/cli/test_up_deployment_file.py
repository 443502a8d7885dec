"""What `tercet up` says about the file it is given."""

from pathlib import Path

import pytest
from tercet_cli.deployment_file import read_deployment
from tercet_cli.errors import CommandError

EXAMPLES = Path(__file__).parents[2] / "examples"
HEAD = "apiVersion: tercet.dev/v1alpha1\nkind: OmniDeployment\nmetadata: {name: a}\n"
GOOD = HEAD + "spec: {model: {source: 'demo://tiny'}}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "omni.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_can_be_read(path: Path) -> None:
    """The examples are executed by the tests."""
    assert read_deployment(path).spec.model.source


def test_other_documents_in_the_file_are_left_alone(tmp_path: Path) -> None:
    """The same file serves `kubectl apply`."""
    text = "kind: Namespace\nmetadata: {name: speech}\n---\n" + GOOD
    assert read_deployment(write(tmp_path, text)).metadata.name == "a"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "spec: {model: {}}", ["spec.model.source: must be given"]),
        (HEAD + "spec: {model: {source: 'ftp://x'}}", ["spec.model.source", "'ftp://x'"]),
        (
            HEAD + "spec: {model: {source: 'demo://tiny'}, layuot: Colocated}",
            ["spec.layuot", "did you mean layout"],
        ),
        (
            HEAD + "spec: {model: {source: 'demo://tiny'}, stages: {talker: {maxTurn: 3}}}",
            ["spec.stages.talker.maxTurn", "did you mean maxTurns"],
        ),
        (
            HEAD + "spec: {model: {source: 'demo://tiny', zzz: 1}}",
            ["spec.model.zzz", "remove it", "revision"],
        ),
        (
            HEAD + "spec: {model: {source: 'demo://tiny'}, speech: {blocks: 5, maxBlocks: 2}}",
            ["spec.speech: maxBlocks must be at least blocks: raise maxBlocks or lower blocks"],
        ),
        (
            HEAD + "spec: {model: {source: 'x'}, stages: {talker: {replicas: -1}}}",
            ["spec.model.source", "spec.stages.talker.replicas"],
        ),
        (GOOD + "---\n" + GOOD, ["2 documents of kind OmniDeployment"]),
        ("just words", ["0 documents of kind OmniDeployment"]),
        ("a: [", ["is not YAML"]),
    ],
)
def test_each_fault_is_named_with_its_field(tmp_path: Path, text: str, words: list[str]) -> None:
    """All faults at once, each with the field as it stands in the file."""
    with pytest.raises(CommandError) as raised:
        read_deployment(write(tmp_path, text))
    assert [word for word in words if word not in str(raised.value)] == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The reason is the system's."""
    with pytest.raises(CommandError, match=r"nowhere\.yaml: No such file"):
        read_deployment(tmp_path / "nowhere.yaml")
