"""The status of an OmniDeployment, and what gateways say they can route to.

The operator writes the status; `kubectl`, gateways and people read it. Field names are camelCase in YAML.
"""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tercet_wire.names import Stage
from tercet_wire.spec import SpecPart


class ConditionType(StrEnum):
    READY = "Ready"
    """Each stage has a replica of the current generation that serves and that every gateway can route to."""
    PROGRESSING = "Progressing"
    """A change is on its way to the pods."""
    DEGRADED = "Degraded"
    """Less is there than was asked for, and that will not change by waiting."""
    MODEL_CACHED = "ModelCached"
    """The checkpoint is where the pods of the current generation read it."""


class Condition(SpecPart):
    type: ConditionType = Field(description="What this is about.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it is so.")
    reason: str = Field(description="In CamelCase, for programs.")
    message: str = Field(description="What is the matter and what to do about it, for people.")
    observed_generation: int = Field(description="metadata.generation that this is about.")
    last_transition_time: str = Field(
        description="When `status` last changed.", json_schema_extra={"format": "date-time"}
    )


class StageStatus(SpecPart):
    """How many servers of one stage there are."""

    desired: int = Field(default=0, description="Replicas that the spec asks for.")
    updated: int = Field(default=0, description="Pods of the current generation.")
    ready: int = Field(default=0, description="Those of them that serve the stage's model.")
    routable: int = Field(default=0, description="Those of them that every gateway can reach.")


class OmniStatus(SpecPart):
    observed_generation: int = Field(default=0, description="metadata.generation of the spec acted on.")
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Ready, Progressing, Degraded and ModelCached, one of each at most.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    stages: dict[Stage, StageStatus] = Field(default_factory=dict, description="Servers of each stage.")
    summary: str = Field(default="", description="Ready of desired replicas: thinker, talker, code2wav.")
    url: str = Field(default="", description="Base URL for OpenAI clients.")
    generation: str = Field(default="", description="Hash of what the spec makes of the pods.")
    serving_generations: tuple[str, ...] = Field(
        default=(), description="Generations that new turns may go to."
    )


class Routes(BaseModel):
    """A gateway's answer at `names.ROUTES_PATH`: replicas it reaches, of generations it begins turns with.

    By `namespace/name` of the OmniDeployment, then by generation, then by stage.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    deployments: dict[str, dict[str, dict[Stage, int]]] = Field(default_factory=dict)
