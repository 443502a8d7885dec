"""Wrong OmniDeployments, one fault each, with the field to be named and the remedy to be said.

Read by the tests of the spec, and by those that ask a real API server: both must refuse each of them.
"""

from dataclasses import dataclass
from dataclasses import field as column
from typing import Any, Final

DEMO: Final = {"source": "demo://tiny"}
HUB: Final = {"source": "hf://Qwen/Qwen2.5-Omni-7B"}


def build_document(name: str = "demo", **spec: Any) -> dict[str, Any]:  # Any: documents are YAML
    return {
        "apiVersion": "tercet.dev/v1alpha1",
        "kind": "OmniDeployment",
        "metadata": {"name": name},
        "spec": {"model": DEMO, **spec},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """`remedy` is in the API server's answer and in pydantic's, unless that has `local` words of its own."""

    title: str
    field: str
    remedy: str
    local: str = ""
    name: str = "demo"
    spec: dict[str, Any] = column(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        return build_document(self.name, **self.spec)


def _model(source: str, **more: Any) -> dict[str, Any]:
    return {"model": {"source": source, **more}}


def _stage(stage: str = "thinker", layout: str = "Disaggregated", **more: Any) -> dict[str, Any]:
    return {"layout": layout, "stages": {stage: more}}


def _limits(**amounts: Any) -> dict[str, Any]:
    return {
        "resources": {
            "limits": {name.replace("gpu", "nvidia.com/gpu"): amount for name, amount in amounts.items()}
        }
    }


def _labels(**labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": labels}}


_NAME = "at most 40 lowercase letters"
_LABELS = "use other keys"
_UNKNOWN = "Extra inputs are not permitted"
NAMES: Final = (
    Mistake(title="name of 41 letters", name="a" * 41, field="metadata.name", remedy=_NAME),
    Mistake(title="name that starts with a digit", name="7b", field="metadata.name", remedy=_NAME),
    Mistake(title="name with a dot", name="a.b", field="metadata.name", remedy=_NAME),
)
MODELS: Final = (
    Mistake(
        title="no model",
        spec={"model": {}},
        field="spec.model.source",
        remedy="Required value",
        local="Field required",
    ),
    Mistake(
        title="no scheme",
        spec=_model("Qwen/Qwen2.5-Omni-7B"),
        field="spec.model.source",
        remedy="hf://owner/name",
    ),
    Mistake(
        title="unknown scheme",
        spec=_model("s3://bucket"),
        field="spec.model.source",
        remedy="pvc://claim/path",
    ),
    Mistake(
        title="hub without owner", spec=_model("hf://omni"), field="spec.model.source", remedy="owner/name"
    ),
    Mistake(
        title="hub with a branch",
        spec=_model("hf://a/b@main"),
        field="spec.model.source",
        remedy="model.revision",
    ),
    Mistake(
        title="modelscope with a folder",
        spec=_model("modelscope://a/b/c"),
        field="spec.model.source",
        remedy="owner/name",
    ),
    Mistake(
        title="claim without a folder",
        spec=_model("pvc://models"),
        field="spec.model.source",
        remedy="pvc://claim/path",
    ),
    Mistake(
        title="folder above the claim",
        spec=_model("pvc://a/../b"),
        field="spec.model.source",
        remedy="pvc://claim/path",
    ),
    Mistake(
        title="relative path",
        spec=_model("file://omni"),
        field="spec.model.source",
        remedy="file:///models/omni",
    ),
    Mistake(
        title="unknown demo",
        spec=_model("demo://huge"),
        field="spec.model.source",
        remedy="demo://tercet, demo://tiny or demo://bench",
    ),
    Mistake(
        title="cache of a claim",
        spec=_model("pvc://a/b", cache={"size": "1Gi"}),
        field="spec.model",
        remedy="remove cache",
    ),
    Mistake(
        title="cache of a folder",
        spec=_model("file:///a", cache={"size": "1Gi"}),
        field="spec.model",
        remedy="remove cache",
    ),
    Mistake(
        title="size in GB",
        spec=_model("hf://a/b", cache={"size": "40GB"}),
        field="spec.model.cache.size",
        remedy="40Gi",
    ),
    Mistake(
        title="cache without size",
        spec=_model("hf://a/b", cache={}),
        field="spec.model.cache.size",
        remedy="Required value",
        local="Field required",
    ),
    Mistake(
        title="unknown access mode",
        spec=_model("hf://a/b", cache={"size": "1Gi", "accessMode": "ReadOnlyMany"}),
        field="spec.model.cache.accessMode",
        remedy='"ReadWriteMany"',
        local="'ReadWriteMany'",
    ),
    Mistake(
        title="token for a demo",
        spec=_model("demo://tiny", token={"name": "t"}),
        field="spec.model",
        remedy="remove token",
    ),
    Mistake(
        title="token without a Secret",
        spec=_model("hf://a/b", token={"key": "t"}),
        field="spec.model.token.name",
        remedy="Required value",
        local="Field required",
    ),
    Mistake(
        title="unknown dtype",
        spec=_model("hf://a/b", dtype="int8"),
        field="spec.model.dtype",
        remedy='"bfloat16"',
        local="'bfloat16'",
    ),
)
STAGES: Final = (
    Mistake(
        title="unknown layout",
        spec={"layout": "Together"},
        field="spec.layout",
        remedy='"Colocated"',
        local="'Colocated'",
    ),
    Mistake(
        title="unknown stage",
        spec={"stages": {"encoder": {}}},
        field="spec.stages.encoder",
        remedy="unknown field",
        local=_UNKNOWN,
    ),
    Mistake(
        title="misspelt field",
        spec=_stage(maxTurn=3),
        field="spec.stages.thinker.maxTurn",
        remedy="unknown field",
        local=_UNKNOWN,
    ),
    Mistake(
        title="fewer than no replicas",
        spec=_stage(replicas=-1),
        field="spec.stages.thinker.replicas",
        remedy="greater than or equal to 0",
    ),
    Mistake(
        title="replicas as text",
        spec=_stage(replicas="two"),
        field="spec.stages.thinker.replicas",
        remedy="integer",
    ),
    Mistake(
        title="no thread",
        spec=_stage(threads=0),
        field="spec.stages.thinker.threads",
        remedy="greater than or equal to 1",
    ),
    Mistake(
        title="wait of no length",
        spec=_stage(queueSeconds=0),
        field="spec.stages.thinker.queueSeconds",
        remedy="greater than 0",
    ),
    Mistake(
        title="memory in words",
        spec=_stage(kvMemory="lots"),
        field="spec.stages.thinker.kvMemory",
        remedy="512Mi",
    ),
    Mistake(
        title="memory in MB",
        spec=_stage("talker", kvMemory="512MB"),
        field="spec.stages.talker.kvMemory",
        remedy="512Mi",
    ),
    Mistake(
        title="other engine",
        spec=_stage(engine="onnx"),
        field="spec.stages.thinker.engine",
        remedy='"torch"',
        local="'torch'",
    ),
)
DEVICES: Final = (
    Mistake(
        title="unknown device",
        spec=_stage(devices=["gpu0"]),
        field="spec.stages.thinker.devices",
        remedy="write cpu, or cuda:0",
    ),
    Mistake(
        title="device without number",
        spec=_stage(devices=["cuda"]),
        field="spec.stages.thinker.devices",
        remedy="write cpu, or cuda:0",
    ),
    Mistake(
        title="GPU twice",
        spec=_stage(devices=["cuda:0", "cuda:0"], **_limits(gpu=1)),
        field="spec.stages.thinker",
        remedy="name each once",
    ),
    Mistake(
        title="int8 on a named GPU",
        field="quantization",
        spec=_stage(quantization="int8", devices=["cuda:0"], **_limits(gpu=1)),
        remedy="remove it, or this stage's GPUs",
    ),
    Mistake(
        title="int8 with a GPU",
        field="quantization",
        spec=_stage("talker", quantization="int8", **_limits(gpu=1)),
        remedy="remove it, or this stage's GPUs",
    ),
    Mistake(
        title="int8 in code2wav",
        field="quantization",
        spec=_stage("code2wav", quantization="int8"),
        remedy="remove it from stages.code2wav",
    ),
    Mistake(
        title="cpu and cuda",
        spec=_stage(devices=["cpu", "cuda:0"], **_limits(gpu=1)),
        field="spec.stages.thinker",
        remedy="name GPUs or cpu alone",
    ),
    Mistake(
        title="GPU that was not asked for",
        spec=_stage("talker", devices=["cuda:0"]),
        field="stages.talker.devices",
        remedy="nvidia.com/gpu in stages.talker.resources.limits",
    ),
    Mistake(
        title="GPU beyond the limit",
        spec=_stage("code2wav", devices=["cuda:0", "cuda:2"], **_limits(gpu=2)),
        field="stages.code2wav.devices",
        remedy="number them from cuda:0",
    ),
    Mistake(
        title="gap between the GPUs of a pod",
        spec={
            "layout": "Colocated",
            "stages": {"thinker": {"devices": ["cuda:0"]}, "talker": {"devices": ["cuda:2"]}},
        },
        field="stages.talker.devices",
        remedy="without gaps",
    ),
    Mistake(
        title="GPU limit in a shared pod",
        spec=_stage("talker", "Colocated", **_limits(gpu=1)),
        field="stages.talker.resources.limits",
        remedy="list GPUs in stages.talker.devices instead",
    ),
    Mistake(
        title="other number of replicas in a shared pod",
        spec=_stage("talker", "Colocated", replicas=2),
        field="stages",
        remedy="the same number, or use layout Disaggregated",
    ),
    Mistake(
        title="pod template of one stage in a shared pod",
        spec=_stage("code2wav", "Colocated", podTemplate={"spec": {"nodeSelector": {"a": "b"}}}),
        field="stages.code2wav.podTemplate",
        remedy="write spec.podTemplate",
    ),
)
RESOURCES: Final = (
    Mistake(
        title="half a GPU",
        spec=_stage(**_limits(gpu="0.5")),
        field="spec.stages.thinker.resources",
        remedy="whole number",
    ),
    Mistake(
        title="GPUs in milli",
        spec=_stage(**_limits(gpu="1000m")),
        field="spec.stages.thinker.resources",
        remedy="whole number",
    ),
    Mistake(
        title="more GPUs requested than the limit",
        spec=_stage(resources={"limits": {"nvidia.com/gpu": 1}, "requests": {"nvidia.com/gpu": 2}}),
        field="spec.stages.thinker.resources",
        remedy="remove it from requests",
    ),
    Mistake(
        title="GPUs requested alone",
        spec=_stage(resources={"requests": {"nvidia.com/gpu": 1}}),
        field="spec.stages.thinker.resources",
        remedy="remove it from requests",
    ),
    Mistake(
        title="memory limit in words",
        spec=_stage(**_limits(memory="much")),
        field="spec.stages.thinker.resources",
        remedy="write 8, 500m, 16Gi",
    ),
    Mistake(
        title="less than no CPU",
        spec=_stage(**_limits(cpu=-1)),
        field="spec.stages.thinker.resources",
        remedy="write 8, 500m, 16Gi",
    ),
    Mistake(
        title="request in words",
        spec=_stage(resources={"requests": {"cpu": "-2"}}),
        field="spec.stages.thinker.resources",
        remedy="write 8, 500m, 16Gi",
    ),
    Mistake(
        title="unquoted fraction",
        spec=_stage(**_limits(cpu=1.5)),
        field="spec.stages.thinker.resources.limits.cpu",
        remedy="integer,string",
        local="valid string",
    ),
)
SPEECH: Final = (
    Mistake(
        title="windows that shrink",
        spec={"speech": {"blocks": 5, "maxBlocks": 2}},
        field="spec.speech",
        remedy="raise maxBlocks or lower blocks",
    ),
    Mistake(
        title="first window of nothing",
        spec={"speech": {"firstCodes": 0}},
        field="spec.speech.firstCodes",
        remedy="greater than or equal to 1",
    ),
    Mistake(
        title="too many points",
        spec={"speech": {"points": 65}},
        field="spec.speech.points",
        remedy="less than or equal to 64",
    ),
    Mistake(
        title="unknown solver",
        spec={"speech": {"solver": "heun"}},
        field="spec.speech.solver",
        remedy='"rk4"',
        local="'rk4'",
    ),
)
ROLLOUT: Final = (
    Mistake(
        title="unknown strategy",
        spec={"rollout": {"strategy": "Recreate"}},
        field="spec.rollout.strategy",
        remedy='"InPlace"',
        local="'InPlace'",
    ),
    Mistake(
        title="drain of two hours",
        spec={"rollout": {"drainSeconds": 7200}},
        field="spec.rollout.drainSeconds",
        remedy="less than or equal to 3600",
    ),
    Mistake(
        title="start within a second",
        spec={"rollout": {"startupSeconds": 1}},
        field="spec.rollout.startupSeconds",
        remedy="greater than or equal to 30",
    ),
)
POD_TEMPLATES: Final = (
    Mistake(
        title="the operator's label",
        spec={"podTemplate": _labels(**{"tercet.dev/stage": "x"})},
        field="podTemplate",
        remedy=_LABELS,
    ),
    Mistake(
        title="the operator's label in a stage",
        spec=_stage(podTemplate=_labels(**{"app.kubernetes.io/managed-by": "me"})),
        field="spec.stages.thinker.podTemplate",
        remedy=_LABELS,
    ),
    Mistake(
        title="other arguments for Triton",
        spec={"podTemplate": {"spec": {"containers": [{"name": "triton", "args": ["--x"]}]}}},
        field="spec.podTemplate",
        remedy="use the fields of spec.stages",
    ),
    Mistake(
        title="other command for Triton",
        spec=_stage("talker", podTemplate={"spec": {"containers": [{"name": "triton", "command": ["sh"]}]}}),
        field="spec.stages.talker.podTemplate",
        remedy="use the fields of spec.stages",
    ),
    Mistake(
        title="container without a name",
        spec={"podTemplate": {"spec": {"containers": [{"image": "x"}]}}},
        field="name",
        remedy="Required value",
        local="Field required",
    ),
    Mistake(
        title="pod fields at the template's top",
        spec={"podTemplate": {"nodeSelector": {"gpu": "yes"}}},
        field="spec.podTemplate",
        remedy='unknown field "spec.podTemplate.nodeSelector"',
        local="under podTemplate.spec",
    ),
    Mistake(
        title="label that is a number",
        spec={"podTemplate": {"metadata": {"labels": {"tier": 1}}}},
        field="spec.podTemplate.metadata.labels.tier",
        remedy="must be of type string",
        local="valid string",
    ),
)
MISTAKES: Final = (*NAMES, *MODELS, *STAGES, *DEVICES, *RESOURCES, *SPEECH, *ROLLOUT, *POD_TEMPLATES)
