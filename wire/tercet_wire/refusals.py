"""What is refused in an OmniDeployment beyond types and ranges, and in which words.

`spec` attaches each table to its part. A sentence says what is wrong and what to write instead; it is what
`kubectl apply` and `tercet up` print. `tests/cluster/test_refusals.py` puts each before a real API server.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from tercet_wire.names import API_GROUP, GPU_RESOURCE, LABEL_MANAGED_BY, SERVER_CONTAINER, Stage
from tercet_wire.rules import Form, Rule, quote

if TYPE_CHECKING:
    from tercet_wire.pod_template import PodTemplate
    from tercet_wire.spec import ModelSpec, OmniSpec, ResourcesSpec, SpeechSpec, StageSpec

NAME: Final = Form(
    pattern=r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?",
    says="metadata.name does not fit the Services that are named after it: write at most 40 lowercase "
    "letters, digits and dashes, starting with a letter and not ending with a dash",
)
SOURCE_SCHEME: Final = Form(
    pattern=r"(hf|modelscope|pvc|file|demo)://.*",
    says="model.source has no known scheme: write hf://owner/name, modelscope://owner/name, "
    "pvc://claim/path, file:///path or demo://tercet",
)
SOURCE_HUB: Final = Form(
    when=r"(hf|modelscope)://",
    pattern=r"[a-z]+://[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+",
    says="model.source must name a repository of the hub: write owner/name, such as "
    "hf://Qwen/Qwen2.5-Omni-7B, and a branch or tag in model.revision",
)
SOURCE_PVC: Final = Form(
    when=r"pvc://",
    pattern=r"pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+",
    says="model.source must name a claim and a folder in it: write pvc://claim/path",
)
SOURCE_FILE: Final = Form(
    when=r"file://",
    pattern=r"file:///.+",
    says="model.source must be an absolute path: write three slashes, as in file:///models/omni",
)
SOURCE_DEMO: Final = Form(
    when=r"demo://",
    pattern=r"demo://(tercet|tiny|bench)",
    says="model.source names no demo model: write demo://tercet, demo://tiny or demo://bench",
)
CACHE_SIZE: Final = Form(
    pattern=r"[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?",
    says="cache.size is not a size: write a whole number and a unit, such as 40Gi",
)
KV_MEMORY: Final = Form(
    pattern=r"[1-9][0-9]*(Ki|Mi|Gi|k|M|G)?",
    says="kvMemory is not an amount of memory: write a whole number and a unit, such as 512Mi or 16Gi",
)
DEVICE: Final = Form(
    pattern=r"cpu|cuda:(0|[1-9][0-9]?)",
    says="devices must name torch devices: write cpu, or cuda:0, cuda:1 and so on",
)

MODEL: Final[tuple[Rule["ModelSpec"], ...]] = (
    Rule(
        cel="has(self.cache) == has(oldSelf.cache) && (!has(self.cache) || self.cache == oldSelf.cache)",
        says="model.cache cannot change, since the running pods hold its volume: delete the OmniDeployment "
        "and apply it anew",
        field="cache",
    ),
    Rule(
        cel="!has(self.cache) || !self.source.matches(r'^(pvc|file)://')",
        says="model.cache makes no sense with pvc:// and file://, which are read where they are: remove "
        "cache, or fetch from hf:// or modelscope://",
        field="cache",
        holds=lambda model: model.cache is None or not model.source.startswith(("pvc://", "file://")),
    ),
    Rule(
        cel="!has(self.token) || self.source.matches(r'^(hf|modelscope)://')",
        says="model.token is for hubs, and this source needs none: remove token, or use an hf:// or "
        "modelscope:// source",
        field="token",
        holds=lambda model: model.token is None or model.source.startswith(("hf://", "modelscope://")),
    ),
)

# As Kubernetes reads quantities, without a minus.
_AMOUNT: Final = r"[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?"
_COUNT: Final = r"[0-9]+"
_GPU: Final = f"'{GPU_RESOURCE}'"


def _are_amounts(amounts: Mapping[str, str | int]) -> bool:
    return all(re.fullmatch(_AMOUNT, str(amount)) for amount in amounts.values())


def _amounts(field: str, holds: Callable[["ResourcesSpec"], bool]) -> Rule["ResourcesSpec"]:
    amount = f"self.{field}[name]"
    # has(), here and in all rules of parts that default to {}: the API server tries them on that default
    # before it fills in the fields' own.
    return Rule(
        cel=f"!has(self.{field}) || self.{field}.all(name, type({amount}) == int ? {amount} >= 0 : "
        f"isQuantity({amount}) && !{amount}.startsWith('-'))",
        says=f"resources.{field} holds something that is no amount: write 8, 500m, 16Gi or, in quotes, '1.5'",
        field=field,
        holds=holds,
    )


def _is_count_of_gpus(resources: "ResourcesSpec") -> bool:
    return re.fullmatch(_COUNT, str(resources.limits.get(GPU_RESOURCE, 0))) is not None


def _requests_gpus_as_limited(resources: "ResourcesSpec") -> bool:
    asked = resources.requests.get(GPU_RESOURCE)
    return asked is None or str(asked) == str(resources.limits.get(GPU_RESOURCE))


RESOURCES: Final[tuple[Rule["ResourcesSpec"], ...]] = (
    _amounts("limits", lambda resources: _are_amounts(resources.limits)),
    _amounts("requests", lambda resources: _are_amounts(resources.requests)),
    Rule(
        cel=f"!has(self.limits) || !({_GPU} in self.limits) || "
        f"string(self.limits[{_GPU}]).matches({quote(f'^{_COUNT}$')})",
        says=f"{GPU_RESOURCE} must be a whole number: write 1, 2 and so on; stages of layout Colocated can "
        "share a GPU",
        field="limits",
        holds=_is_count_of_gpus,
    ),
    Rule(
        cel=f"!has(self.requests) || !({_GPU} in self.requests) || (has(self.limits) && "
        f"{_GPU} in self.limits && string(self.requests[{_GPU}]) == string(self.limits[{_GPU}]))",
        says=f"{GPU_RESOURCE} must be the same in requests and limits: remove it from requests",
        field="requests",
        holds=_requests_gpus_as_limited,
    ),
)

STAGE: Final[tuple[Rule["StageSpec"], ...]] = (
    Rule(
        cel="!has(self.devices) || self.devices.all(d, d == 'cpu' || self.devices.exists_one(o, o == d))",
        says="devices names one GPU twice: name each once and raise its maxTurns",
        field="devices",
        holds=lambda stage: len(gpus := [d for d in stage.devices if d != "cpu"]) == len(set(gpus)),
    ),
    Rule(
        cel="!has(self.devices) || !('cpu' in self.devices) || "
        "!self.devices.exists(device, device.startsWith('cuda:'))",
        says="devices must not mix cpu and cuda, since turns are spread evenly: name GPUs or cpu alone",
        field="devices",
        holds=lambda stage: "cpu" not in stage.devices or set(stage.devices) == {"cpu"},
    ),
    Rule(
        cel="!has(self.quantization) || self.quantization == 'none' || "
        "((!has(self.devices) || self.devices.all(device, device == 'cpu')) && "
        f"!(has(self.resources) && has(self.resources.limits) && {_GPU} in self.resources.limits))",
        says="quantization int8 is for stages on the CPU: remove it, or this stage's GPUs",
        field="quantization",
        holds=lambda stage: (
            stage.quantization == "none"
            or (set(stage.devices) <= {"cpu"} and GPU_RESOURCE not in stage.resources.limits)
        ),
    ),
)

SPEECH: Final[tuple[Rule["SpeechSpec"], ...]] = (
    Rule(
        cel="!has(self.maxBlocks) || !has(self.blocks) || self.maxBlocks >= self.blocks",
        says="maxBlocks must be at least blocks: raise maxBlocks or lower blocks",
        field="maxBlocks",
        holds=lambda speech: speech.max_blocks >= speech.blocks,
    ),
)


def _is_operators(label: str) -> bool:
    return label.startswith(f"{API_GROUP}/") or label == LABEL_MANAGED_BY


POD_TEMPLATE: Final[tuple[Rule["PodTemplate"], ...]] = (
    Rule(
        cel="!has(self.metadata) || !has(self.metadata.labels) || self.metadata.labels.all(key, "
        f"!key.startsWith('{API_GROUP}/') && key != '{LABEL_MANAGED_BY}')",
        says=f"podTemplate must not set the operator's own labels ({API_GROUP}/... and {LABEL_MANAGED_BY}): "
        "use other keys",
        field="metadata.labels",
        holds=lambda template: not any(_is_operators(label) for label in template.metadata.labels),
    ),
    Rule(
        cel="!has(self.spec) || !has(self.spec.containers) || !self.spec.containers.exists(container, "
        f"container.name == '{SERVER_CONTAINER}' && (has(container.command) || has(container.args)))",
        says=f"podTemplate must not replace command or args of container {SERVER_CONTAINER}, which come from "
        "the spec: use the fields of spec.stages, or env",
        field="spec.containers",
        holds=lambda template: (
            not any(
                container.name == SERVER_CONTAINER and bool({"command", "args"} & container.model_fields_set)
                for container in template.spec.containers
            )
        ),
    ),
)


def _colocated(stage: Stage) -> Iterator[Rule["OmniSpec"]]:
    part = f"stages.{stage}"
    yield Rule(
        cel=f"self.layout != 'Colocated' || !({_GPU} in self.{part}.resources.limits)",
        says=f"Colocated stages share one pod, so {GPU_RESOURCE} must not be in {part}.resources.limits: "
        f"list GPUs in {part}.devices instead, such as [cuda:0]; the pod asks for as many as are named",
        field=f"{part}.resources.limits",
        holds=lambda spec: (
            spec.layout != "Colocated" or GPU_RESOURCE not in spec.stages.of(stage).resources.limits
        ),
    )
    yield Rule(
        cel=f"self.layout != 'Colocated' || "
        f"(!has(self.{part}.podTemplate.metadata) && !has(self.{part}.podTemplate.spec))",
        says=f"Colocated stages share one pod, so {part}.podTemplate has no use: write spec.podTemplate",
        field=f"{part}.podTemplate",
        holds=lambda spec: spec.layout != "Colocated" or not spec.stages.of(stage).pod_template,
    )


_NUMBERED: Final = quote("^cuda:[0-9]+$")


def _colocated_devices(stage: Stage) -> Rule["OmniSpec"]:
    field = f"stages.{stage}.devices"
    named = " || ".join(
        f"self.stages.{each}.devices.exists(other, other.matches({_NUMBERED}) && "
        "int(other.substring(5)) == int(device.substring(5)) - 1)"
        for each in Stage
    )
    return Rule(
        cel=f"self.layout != 'Colocated' || self.{field}.all(device, "
        f"!device.matches({_NUMBERED}) || device == 'cuda:0' || {named})",
        says=f"{field} leaves out a GPU of the pod: number the GPUs that Colocated stages name from cuda:0 "
        "on, without gaps",
        field=field,
        holds=lambda spec: spec.layout != "Colocated" or _follows_others(spec, stage),
    )


def _follows_others(spec: "OmniSpec", stage: Stage) -> bool:
    named = set().union(*(_gpu_numbers(spec.stages.of(each).devices) for each in Stage))
    return all(number - 1 in named for number in _gpu_numbers(spec.stages.of(stage).devices) - {0})


def _disaggregated_devices(stage: Stage) -> Rule["OmniSpec"]:
    limits, field = f"self.stages.{stage}.resources.limits", f"stages.{stage}.devices"
    limited = f"{_GPU} in {limits}"
    return Rule(
        cel=f"self.layout != 'Disaggregated' || ({limited} "
        f"&& !string({limits}[{_GPU}]).matches(r'^{_COUNT}$')) || "
        f"self.{field}.all(device, !device.matches({_NUMBERED}) || "
        f"({limited} && int(device.substring(5)) < int({limits}[{_GPU}])))",
        says=f"{field} names a GPU that the stage's pods do not have: number them from cuda:0, and set "
        f"{GPU_RESOURCE} in stages.{stage}.resources.limits to their count",
        field=field,
        holds=lambda spec: spec.layout != "Disaggregated" or _has_named_gpus(spec, stage),
    )


def _has_named_gpus(spec: "OmniSpec", stage: Stage) -> bool:
    part = spec.stages.of(stage)
    count = int(part.resources.limits.get(GPU_RESOURCE, 0))
    return all(number < count for number in _gpu_numbers(part.devices))


def _gpu_numbers(devices: tuple[str, ...]) -> set[int]:
    return {int(device.removeprefix("cuda:")) for device in devices if device != "cpu"}


_REPLICAS: Final = " && ".join(
    f"self.stages.{stage}.replicas == self.stages.{Stage.THINKER}.replicas"
    for stage in (Stage.TALKER, Stage.CODE2WAV)
)
OMNI: Final[tuple[Rule["OmniSpec"], ...]] = (
    Rule(
        cel="self.stages.code2wav.quantization == 'none'",
        says="quantization is for thinker and talker: remove it from stages.code2wav, whose solver needs "
        "full precision",
        field="stages.code2wav.quantization",
        holds=lambda spec: spec.stages.code2wav.quantization == "none",
    ),
    Rule(
        cel="self.layout == oldSelf.layout",
        says="layout cannot change, since a server of one layout cannot stand in for the other's: delete the "
        "OmniDeployment and apply it anew, or apply it under a second name",
        field="layout",
    ),
    Rule(
        cel=f"self.layout != 'Colocated' || ({_REPLICAS})",
        says="replicas must be equal in all three stages of layout Colocated, whose servers host them all: "
        "give thinker, talker and code2wav the same number, or use layout Disaggregated",
        field="stages",
        holds=lambda spec: (
            spec.layout != "Colocated" or len({spec.stages.of(stage).replicas for stage in Stage}) == 1
        ),
    ),
    *(rule for stage in Stage for rule in _colocated(stage)),
    *(_colocated_devices(stage) for stage in Stage),
    *(_disaggregated_devices(stage) for stage in Stage),
)


def describe_strangers(template: Mapping[str, Any]) -> str | None:
    """What to say of fields that stand beside metadata and spec; the API server calls them unknown."""
    strangers = sorted(template.keys() - {"metadata", "spec"})
    if not strangers:
        return None
    return (
        f"podTemplate has {', '.join(strangers)} beside metadata and spec: what stands in a Pod's spec "
        "belongs under podTemplate.spec"
    )
