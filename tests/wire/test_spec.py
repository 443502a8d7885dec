"""omni.yaml as data: what is accepted, what is refused, and in which words."""

from typing import Any

import pytest
from pydantic import ValidationError
from tercet_wire.names import Stage
from tercet_wire.settings import WindowSettings
from tercet_wire.spec import OmniDeployment


def build_document(**spec: Any) -> dict[str, Any]:  # Any: documents are YAML
    return {
        "apiVersion": "tercet.dev/v1alpha1",
        "kind": "OmniDeployment",
        "metadata": {"name": "demo"},
        "spec": {"model": {"source": "demo://tiny"}, **spec},
    }


def test_everything_but_the_source_has_a_default() -> None:
    """A document with a model source alone is whole."""
    spec = OmniDeployment.model_validate(build_document()).spec
    assert (spec.layout, spec.speech.voice, spec.model.dtype) == ("Disaggregated", "Chelsie", "bfloat16")
    assert spec.stages.of(Stage.TALKER).replicas == 1


def test_speech_settings_reach_the_stages() -> None:
    """What the YAML says about windows is what code2wav is told."""
    speech = {"firstCodes": 12, "blocks": 2, "maxBlocks": 3, "solver": "midpoint", "points": 6}
    window = OmniDeployment.model_validate(build_document(speech=speech)).spec.speech.window()
    assert window == WindowSettings(first_codes=12, blocks=2, max_blocks=3, solver="midpoint", points=6)


def test_default_windows_agree() -> None:
    """The defaults of omni.yaml and of a stage's settings are the same."""
    assert OmniDeployment.model_validate(build_document()).spec.speech.window() == WindowSettings()


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"model": {"source": "s3://bucket"}}, "model.source"),
        ({"model": {}}, "model.source"),
        ({"layout": "Together"}, "layout"),
        ({"stages": {"talker": {"replica": 2}}}, "stages.talker.replica"),
        ({"stages": {"thinker": {"kvMemory": "lots"}}}, "stages.thinker.kvMemory"),
        ({"stages": {"encoder": {}}}, "stages.encoder"),
        ({"speech": {"solver": "heun"}}, "speech.solver"),
        ({"speech": {"blocks": 8, "maxBlocks": 4}}, "speech"),
        ({"speech": {"firstCodes": 0}}, "speech.firstCodes"),
    ],
)
def test_a_mistake_is_refused_by_its_field(spec: dict[str, Any], where: str) -> None:
    """The error's place is the path a user would look for in the YAML."""
    with pytest.raises(ValidationError) as refused:
        OmniDeployment.model_validate(build_document(**spec))
    places = [".".join(str(part) for part in error["loc"]) for error in refused.value.errors()]
    assert any(place == f"spec.{where}" for place in places)


@pytest.mark.parametrize("name", ["Demo", "-demo", "a" * 41, ""])
def test_a_name_must_fit_kubernetes(name: str) -> None:
    """Names are those of a DNS label, short enough for the children's suffixes."""
    document = build_document() | {"metadata": {"name": name}}
    with pytest.raises(ValidationError, match=r"metadata\.name"):
        OmniDeployment.model_validate(document)
