"""The OmniDeployment resource as data: the one description of omni.yaml.

`tercet up` and the operator read the same; field names are camelCase in YAML.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from tercet_wire.names import Stage
from tercet_wire.settings import Dtype, Solver, WindowSettings


class SpecPart(BaseModel):
    """Frozen, camelCase outside, and an unknown field is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class ModelSpec(SpecPart):
    source: str = Field(
        pattern=r"^(hf|modelscope|pvc|file|demo)://.+",
        description="Where the checkpoint is: hf://org/name, modelscope://org/name, pvc://claim/path, "
        "file:///path, or demo://tiny.",
    )
    revision: str = Field(default="main", description="Branch, tag or commit of a hub source.")
    dtype: Dtype = Field(default="bfloat16", description="Number format of thinker and talker.")


class ResourcesSpec(SpecPart):
    limits: dict[str, str | int] = Field(default_factory=dict)
    requests: dict[str, str | int] = Field(default_factory=dict)


class StageSpec(SpecPart):
    engine: Literal["torch"] = Field(default="torch", description="What runs the network.")
    replicas: int = Field(default=1, ge=0, description="Servers that host this stage.")
    resources: ResourcesSpec = ResourcesSpec()
    devices: tuple[str, ...] = Field(
        default=(),
        description="Torch devices, e.g. [cuda:0]. Empty: the GPUs asked for, else the CPU.",
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads. Empty: a third of the cores.")
    max_turns: int = Field(default=32, ge=1, description="Turns stepped at once; more wait.")
    queue_turns: int = Field(default=128, ge=0, description="Turns that may wait; more are refused.")
    queue_seconds: float = Field(default=30.0, gt=0, description="Longest wait before a refusal.")
    kv_memory: str = Field(
        default="512Mi",
        pattern=r"^[1-9][0-9]*(Ki|Mi|Gi|k|M|G)?$",
        description="Memory for keys and values.",
    )
    block_tokens: int = Field(default=16, ge=1, description="Tokens in one KV block.")
    chunk_tokens: int = Field(default=256, ge=1, description="Most prompt tokens in one step.")


class StagesSpec(SpecPart):
    thinker: StageSpec = StageSpec()
    talker: StageSpec = StageSpec()
    code2wav: StageSpec = StageSpec()

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

    voice: str = Field(default="Chelsie", description="Voice of a request that names none.")
    first_codes: int = Field(default=8, ge=1, le=48, description="Codes of the first window.")
    blocks: int = Field(default=1, ge=1, le=16, description="Blocks of 240 ms in the next windows.")
    max_blocks: int = Field(default=4, ge=1, le=32, description="Blocks once the listener is ahead.")
    look_ahead_blocks: int = Field(default=0, ge=0, le=4)
    solver: Solver = "rk4"
    points: int = Field(default=10, ge=2, le=64, description="Points of the solver's time grid.")
    overlap_frames: int = Field(default=8, ge=0, le=64, description="Vocoder context, 10 ms each.")
    first_overlap_frames: int = Field(default=8, ge=0, le=64)

    @model_validator(mode="after")
    def _windows_grow(self) -> Self:
        if self.max_blocks < self.blocks:
            raise ValueError(f"maxBlocks ({self.max_blocks}) must be at least blocks ({self.blocks})")
        return self

    def window(self) -> WindowSettings:
        """The same choices in the words of the stages."""
        return WindowSettings(**self.model_dump(exclude={"voice"}))


class RolloutSpec(SpecPart):
    strategy: Literal["Surge", "InPlace", "BlueGreen"] = "Surge"
    drain_seconds: int = Field(default=120, ge=0)


class OmniSpec(SpecPart):
    model: ModelSpec
    layout: Literal["Disaggregated", "Colocated"] = Field(
        default="Disaggregated",
        description="One server per stage, or one server that hosts all three.",
    )
    stages: StagesSpec = StagesSpec()
    speech: SpeechSpec = SpeechSpec()
    rollout: RolloutSpec = RolloutSpec()
    # Passed through to the pods unvalidated, as Kubernetes' own schema is the judge of it.
    pod_template: dict[str, Any] = Field(default_factory=dict)


class Metadata(BaseModel):
    """The part of Kubernetes' metadata that Tercet reads; the rest is carried along."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)
    namespace: str = "default"


class OmniDeployment(SpecPart):
    """One model, its three stages, their settings."""

    api_version: Literal["tercet.dev/v1alpha1"] = "tercet.dev/v1alpha1"
    kind: Literal["OmniDeployment"] = "OmniDeployment"
    metadata: Metadata
    spec: OmniSpec
