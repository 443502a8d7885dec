"""Every mistake is refused by the classes alone, as `tercet up` and `tercet render` need it."""

import re
from typing import Any

import pytest
from pydantic import ValidationError
from tercet_wire.rules import Form
from tercet_wire.spec import OmniDeployment

from tests.wire.mistakes import HUB, MISTAKES, Mistake, build_document


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.title)
def test_each_mistake_is_named_with_its_remedy(mistake: Mistake) -> None:
    """The field, and what to write instead."""
    with pytest.raises(ValidationError) as refused:
        OmniDeployment.model_validate(mistake.document)
    faults = refused.value.errors()
    answer = "\n".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
    assert mistake.field in answer
    assert (mistake.local or mistake.remedy) in answer


@pytest.mark.parametrize(
    "spec",
    [
        {"model": HUB | {"cache": {"size": "40Gi"}, "token": {"name": "hub"}, "revision": "v1"}},
        {"model": {"source": "pvc://models/qwen/7b"}},
        {"model": {"source": "file:///models/omni 7b"}},
        {
            "stages": {
                "thinker": {"devices": ["cuda:1", "cuda:0"], "resources": {"limits": {"nvidia.com/gpu": "2"}}}
            }
        },
        {"stages": {"thinker": {"quantization": "int8", "devices": ["cpu"]}}},
        {"stages": {"code2wav": {"devices": ["cpu", "cpu"]}}},
        {
            "stages": {
                "talker": {"resources": {"limits": {"cpu": "1.5", "memory": "2Gi", "nvidia.com/gpu": 1}}}
            }
        },
        {
            "layout": "Colocated",
            "stages": {"thinker": {"devices": ["cuda:1"]}, "code2wav": {"devices": ["cuda:0"]}},
        },
        {"podTemplate": {"spec": {"containers": [{"name": "triton", "env": [{"name": "A", "value": "1"}]}]}}},
        {"podTemplate": {"metadata": {"labels": {"team": "speech"}, "annotations": {"a": "b"}}}},
    ],
)
def test_what_makes_sense_is_taken(spec: dict[str, Any]) -> None:
    """Neighbours of the mistakes that are none."""
    assert OmniDeployment.model_validate(build_document(**spec)).spec.model.source


def test_a_pod_template_stays_as_it_stands() -> None:
    """What is merged into pods is what was written, with fields that nobody here knows."""
    template = {"spec": {"tolerations": [{"operator": "Exists"}], "containers": [{"name": "triton"}]}}
    spec = OmniDeployment.model_validate(build_document(podTemplate=template)).spec
    assert spec.pod_template == template
    assert spec.model_dump(by_alias=True)["podTemplate"] == template


def test_several_faults_of_one_part_are_said_together() -> None:
    """One run of the command shows them all."""
    stages = {"thinker": {"replicas": 2, "podTemplate": {"spec": {}}}}
    with pytest.raises(ValidationError) as refused:
        OmniDeployment.model_validate(build_document(layout="Colocated", stages=stages))
    (fault,) = refused.value.errors()
    assert "replicas must be equal" in fault["msg"]
    assert "podTemplate has no use" in fault["msg"]


def test_a_form_reads_the_same_in_cel() -> None:
    """The whole text is meant in both languages, and a quote would end CEL's string."""
    form = Form(when="b", pattern="b[0-9]", says="write b0")
    assert form.to_schema() == {
        "rule": "!self.matches(r'^(b)') || self.matches(r'^(b[0-9])$')",
        "message": "write b0",
    }
    assert form.check("a") == "a"
    with pytest.raises(ValueError, match=re.escape("write b0")):
        form.check("b12")
    with pytest.raises(ValueError, match="quote"):
        Form(pattern="it's", says="").to_schema()
