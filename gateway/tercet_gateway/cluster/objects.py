"""What the gateway reads of an OmniDeployment and of an EndpointSlice.

`kube` parses what the API server sends, `view` puts it together. Fields that are not read may be anything:
the operator and the cluster may be of another release.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from tercet_wire.names import (
    COLOCATED,
    GRPC_PORT_NAME,
    LABEL_DEPLOYMENT,
    LABEL_GENERATION,
    LABEL_STAGE,
    Stage,
)
from tercet_wire.spec import SpeechSpec, StageSpec
from tercet_wire.status import ConditionType

from tercet_gateway.stages.fleet import Endpoint

_STAGES: Final = {COLOCATED: frozenset(Stage)} | {stage.value: frozenset({stage}) for stage in Stage}
"""By the value of `LABEL_STAGE`."""


class Ref(NamedTuple):
    """An object of one kind."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """An OmniDeployment. `readiness`: its Ready condition, None while it has no status."""

    ref: Ref
    created: int
    voice: str
    queue_s: float
    serving: frozenset[str]
    readiness: "Readiness | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    is_true: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """An EndpointSlice of a server kind's Service; only endpoints that can do something for a turn."""

    ref: Ref
    deployment: Ref
    endpoints: tuple[Endpoint, ...]


# --- as they are written ------------------------------------------------------------------------


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class _Metadata(_Part):
    name: str
    namespace: str
    creation_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)

    def ref(self) -> Ref:
        return Ref(self.namespace, self.name)


class _Speech(_Part):
    voice: str = SpeechSpec.model_fields["voice"].default


class _Stage(_Part):
    queue_seconds: float = StageSpec.model_fields["queue_seconds"].default


class _Stages(_Part):
    thinker: _Stage = _Stage()
    talker: _Stage = _Stage()
    code2wav: _Stage = Field(default=_Stage(), alias="code2wav")  # the generated one would be code2Wav

    def queue_s(self) -> float:
        return max(stage.queue_seconds for stage in (self.thinker, self.talker, self.code2wav))


class _Spec(_Part):
    stages: _Stages = _Stages()
    speech: _Speech = _Speech()


class _Condition(_Part):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Status(_Part):
    conditions: tuple[_Condition, ...] = ()
    serving_generations: tuple[str, ...] = ()


class _OmniDeployment(_Part):
    metadata: _Metadata
    spec: _Spec = _Spec()
    status: _Status = _Status()


class _Conditions(_Part):
    """None means: as `ready` for `serving`, yes for `ready`, no for `terminating`."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _SliceEndpoint(_Part):
    addresses: tuple[str, ...]
    conditions: _Conditions | None = None


class _Port(_Part):
    name: str | None = None
    port: int | None = None


class _EndpointSlice(_Part):
    metadata: _Metadata
    endpoints: tuple[_SliceEndpoint, ...] | None = None
    ports: tuple[_Port, ...] | None = None


# --- parsing ------------------------------------------------------------------------------------


def parse_deployment(raw: object) -> Deployment:
    """ValidationError when it is no OmniDeployment."""
    read = _OmniDeployment.model_validate(raw)
    ready = next((c for c in read.status.conditions if c.type == ConditionType.READY), None)
    created = read.metadata.creation_timestamp
    return Deployment(
        ref=read.metadata.ref(),
        created=0 if created is None else int(created.timestamp()),
        voice=read.spec.speech.voice,
        queue_s=read.spec.stages.queue_s(),
        serving=frozenset(read.status.serving_generations),
        readiness=None
        if ready is None
        else Readiness(is_true=ready.status == "True", reason=ready.reason, message=ready.message),
    )


def parse_slice(raw: object) -> Slice:
    """ValidationError when it is no EndpointSlice. One without our labels or port has no endpoints for us."""
    read = _EndpointSlice.model_validate(raw)
    labels = read.metadata.labels
    return Slice(
        ref=read.metadata.ref(),
        deployment=Ref(read.metadata.namespace, labels.get(LABEL_DEPLOYMENT, "")),
        endpoints=tuple(_iter_endpoints(read)),
    )


def _iter_endpoints(read: _EndpointSlice) -> Iterator[Endpoint]:
    labels = read.metadata.labels
    stages = _STAGES.get(labels.get(LABEL_STAGE, ""))
    generation = labels.get(LABEL_GENERATION)
    port = next((port.port for port in read.ports or () if port.name == GRPC_PORT_NAME), None)
    if stages is None or generation is None or port is None:
        return
    for endpoint in read.endpoints or ():
        conditions = endpoint.conditions or _Conditions()
        is_ready = conditions.ready is not False
        serves_to_the_end = bool(conditions.serving) and bool(conditions.terminating)
        if endpoint.addresses and (is_ready or serves_to_the_end):
            yield Endpoint(
                address=_join(endpoint.addresses[0], port),
                stages=stages,
                generation=generation,
                is_ready=is_ready,
            )


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
