"""The OmniDeployment resource as data: the one description of omni.yaml.

`tercet up` and the operator read the same; field names are camelCase in YAML.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from tercet_wire import refusals
from tercet_wire.names import Stage
from tercet_wire.pod_template import PodTemplateDict
from tercet_wire.rules import Rule, Ruled
from tercet_wire.settings import Dtype, Quantization, Solver, WindowSettings


class SpecPart(Ruled):
    """Frozen, camelCase outside, and an unknown field is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class CacheSpec(SpecPart):
    size: Annotated[str, refusals.CACHE_SIZE] = Field(
        max_length=32, description="Size of the volume, such as 40Gi."
    )
    storage_class_name: str | None = Field(
        default=None, description="Storage class of the volume. Empty: the cluster's default."
    )
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = Field(
        default="ReadWriteOnce", description="ReadWriteMany lets pods on several nodes share the volume."
    )


class SecretKeySpec(SpecPart):
    name: str = Field(
        min_length=1, max_length=253, description="Name of the Secret, in the namespace of the deployment."
    )
    key: str = Field(default="token", min_length=1, max_length=253, description="Key in the Secret.")


class ModelSpec(SpecPart):
    rules: ClassVar[tuple[Rule[Any], ...]] = refusals.MODEL

    source: Annotated[
        str,
        refusals.SOURCE_SCHEME,
        refusals.SOURCE_HUB,
        refusals.SOURCE_PVC,
        refusals.SOURCE_FILE,
        refusals.SOURCE_DEMO,
    ] = Field(
        max_length=1024,
        description="Where the checkpoint is: hf://org/name, modelscope://org/name, pvc://claim/path, "
        "file:///path (in a cluster, one that podTemplate mounts), or demo://tercet.",
    )
    revision: str = Field(
        default="main", max_length=255, description="Branch, tag or commit of a hub source."
    )
    dtype: Dtype = Field(default="bfloat16", description="Number format of thinker and talker.")
    cache: CacheSpec | None = Field(
        default=None,
        description="A volume that keeps the model over restarts. Without it each pod fetches its own copy.",
    )
    token: SecretKeySpec | None = Field(
        default=None, description="Secret with the hub's access token, for models that need one."
    )


class ResourcesSpec(SpecPart):
    rules: ClassVar[tuple[Rule[Any], ...]] = refusals.RESOURCES

    limits: dict[str, str | int] = Field(
        default={}, max_length=8, description="Most of each resource, such as nvidia.com/gpu: 1 or cpu: 8."
    )
    requests: dict[str, str | int] = Field(
        default={}, max_length=8, description="What the scheduler sets aside. Empty: the limits."
    )


class StageSpec(SpecPart):
    rules: ClassVar[tuple[Rule[Any], ...]] = refusals.STAGE

    engine: Literal["torch"] = Field(default="torch", description="What runs the network.")
    replicas: int = Field(default=1, ge=0, description="Servers that host this stage.")
    resources: ResourcesSpec = Field(
        default=ResourcesSpec(),
        description="Of the stage's container. Colocated stages share one, which gets the sum.",
    )
    devices: tuple[Annotated[str, Field(max_length=7), refusals.DEVICE], ...] = Field(
        default=(),
        max_length=16,
        description="Torch devices, an instance of the stage on each: [cuda:0], or [cpu, cpu]. Colocated "
        "stages name their GPUs here, and the pod asks for as many as they name. Empty: the GPUs in "
        "resources.limits, else the CPU.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        description="CPU threads of an instance. Empty: 1; with tercet up a third of the machine's cores.",
    )
    quantization: Quantization = Field(
        default="none",
        description="int8: thinker or talker multiply in 8 bits, on a CPU.",
    )
    max_turns: int = Field(default=32, ge=1, description="Turns stepped at once; more wait.")
    queue_turns: int = Field(default=128, ge=0, description="Turns that may wait; more are refused.")
    queue_seconds: float = Field(default=30.0, gt=0, description="Longest wait before a refusal.")
    max_load: float = Field(
        default=0.9,
        gt=0,
        le=4,
        description="Code2wav: share of its time that turns may need.",
    )
    kv_memory: Annotated[str, refusals.KV_MEMORY] = Field(
        default="512Mi", max_length=32, description="Memory for keys and values, such as 16Gi."
    )
    block_tokens: int = Field(default=16, ge=1, description="Tokens in one KV block.")
    chunk_tokens: int = Field(default=256, ge=1, description="Most prompt tokens in one step.")
    prefix_cache: bool = Field(
        default=True,
        description="Thinker: compute once what prompts begin with alike.",
    )
    pod_template: PodTemplateDict = Field(
        default={},
        description="Merged into this stage's pods after spec.podTemplate (Disaggregated only).",
    )


class StagesSpec(SpecPart):
    thinker: StageSpec = Field(default=StageSpec(), description="Reads the turn and writes the text.")
    talker: StageSpec = Field(default=StageSpec(), description="Turns the thinker's states into codes.")
    # The generated alias would be code2Wav.
    code2wav: StageSpec = Field(default=StageSpec(), alias="code2wav", description="Turns codes into sound.")

    def of(self, stage: Stage) -> StageSpec:
        match stage:
            case Stage.THINKER:
                return self.thinker
            case Stage.TALKER:
                return self.talker
            case Stage.CODE2WAV:
                return self.code2wav


class SpeechSpec(SpecPart):
    """See `settings.WindowSettings` for what the window fields do."""

    rules: ClassVar[tuple[Rule[Any], ...]] = refusals.SPEECH

    voice: str = Field(default="Chelsie", max_length=64, description="Voice of a request that names none.")
    first_codes: int = Field(default=8, ge=1, le=48, description="Codes of the first window.")
    blocks: int = Field(default=1, ge=1, le=16, description="Blocks of 240 ms in the next windows.")
    max_blocks: int = Field(default=4, ge=1, le=32, description="Blocks once the listener is ahead.")
    look_ahead_blocks: int = Field(
        default=0, ge=0, le=4, description="Blocks computed after each window and thrown away."
    )
    solver: Solver = Field(
        default="rk4",
        description="How the DiT's equation is solved: rk4 is the reference's, others cost less.",
    )
    points: int = Field(default=10, ge=2, le=64, description="Points of the solver's time grid.")
    overlap_frames: int = Field(default=8, ge=0, le=64, description="Vocoder context, 10 ms each.")
    first_overlap_frames: int = Field(
        default=8,
        ge=0,
        le=64,
        description="The same after the first window, where it delays the first sound.",
    )

    def window(self) -> WindowSettings:
        """The same choices in the words of the stages."""
        return WindowSettings(**self.model_dump(exclude={"voice"}))


class RolloutSpec(SpecPart):
    strategy: Literal["Surge", "InPlace", "BlueGreen"] = Field(
        default="Surge",
        description="Surge: one extra server per stage. InPlace: none, for clusters without a spare GPU; "
        "with one replica that is an interruption. BlueGreen: a second full set, then all new turns go to "
        "it at once.",
    )
    drain_seconds: int = Field(
        default=120, ge=0, le=3600, description="How long a server that must go waits for its turns to end."
    )
    startup_seconds: int = Field(
        default=1800, ge=30, le=14400, description="Longest start of a server: fetch, load, warm up."
    )


class OmniSpec(SpecPart):
    rules: ClassVar[tuple[Rule[Any], ...]] = refusals.OMNI

    model: ModelSpec = Field(description="The checkpoint.")
    layout: Literal["Disaggregated", "Colocated"] = Field(
        default="Disaggregated",
        description="Disaggregated: one server per stage, each scaled on its own. Colocated: servers that "
        "host all three.",
    )
    stages: StagesSpec = Field(default=StagesSpec(), description="The three stages and what each may use.")
    speech: SpeechSpec = Field(default=SpeechSpec(), description="How speech is cut into windows and sent.")
    rollout: RolloutSpec = Field(default=RolloutSpec(), description="How a change reaches running servers.")
    pod_template: PodTemplateDict = Field(
        default={},
        description="A PodTemplateSpec that is merged into the pods: nodeSelector, tolerations, volumes, "
        "imagePullSecrets, and env or volumeMounts of the container named triton.",
    )


class Metadata(BaseModel):
    """The part of Kubernetes' metadata that Tercet reads; the rest is carried along."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Annotated[str, refusals.NAME]
    namespace: str = "default"


class OmniDeployment(SpecPart):
    """One model, its three stages, their settings."""

    api_version: Literal["tercet.dev/v1alpha1"] = "tercet.dev/v1alpha1"
    kind: Literal["OmniDeployment"] = "OmniDeployment"
    metadata: Metadata
    spec: OmniSpec
