"""The part of a pod template that Tercet looks at; Kubernetes' own schema is the judge of the rest.

`spec` keeps templates as the dicts they are, to be merged into pods as they stand, and holds them to this
shape first. The CRD's schema is made from it: fields that are not here are let through.
"""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from tercet_wire.refusals import POD_TEMPLATE, describe_strangers
from tercet_wire.rules import Rule, Ruled


class Open(BaseModel):
    """Knows some of the fields of a Kubernetes object."""

    model_config = ConfigDict(frozen=True, extra="allow")


class PodMetadata(Open):
    labels: dict[str, str] = Field(default_factory=dict, max_length=64, description="Labels to add.")


class Container(Open):
    name: str = Field(
        min_length=1, max_length=63, description="triton is the one that hosts stages; others are added."
    )
    command: tuple[str, ...] = Field(default_factory=tuple, description="Not for triton.")
    args: tuple[str, ...] = Field(default_factory=tuple, description="Not for triton.")


class PodSpec(Open):
    containers: tuple[Container, ...] = Field(
        default_factory=tuple, max_length=16, description="Merged by name."
    )


class PodTemplate(Ruled):
    model_config = ConfigDict(frozen=True, extra="forbid")
    rules: ClassVar[tuple[Rule[Any], ...]] = POD_TEMPLATE

    metadata: PodMetadata = Field(default_factory=PodMetadata, description="Labels and annotations to add.")
    spec: PodSpec = Field(
        default_factory=PodSpec,
        description="A PodSpec: nodeSelector, tolerations, volumes and so on.",
    )


class _Shape:
    """Checks like `PodTemplate`, and leaves the dict as it is."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            _check,
            handler.generate_schema(PodTemplate),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda template: template),
        )


def _check(template: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
    if isinstance(template, dict) and (fault := describe_strangers(template)):
        raise ValueError(fault)
    validate(template)
    return template


PodTemplateDict = Annotated[dict[str, Any], _Shape()]
"""A PodTemplateSpec as it stands in YAML."""
