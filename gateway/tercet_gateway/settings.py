"""All that the gateway is told at start: one JSON file, read once, checked as a whole.

`read_settings` is called by `__main__`; everything else is handed its part. No other module reads a file or
the environment. `tercet up` and the operator write the file.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import (
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs
from tercet_wire.names import GATEWAY_METRICS_PORT, GATEWAY_PORT, Stage

from tercet_gateway.media.addresses import parse_allowed_hosts

VOICES: Final = ("Chelsie", "Ethan")
"""Those of the published checkpoints."""
_STRICT = ConfigDict(extra="forbid")
_AFTER_QUEUE_S: Final = 30.0
"""For what a stage does once a turn has its place."""


class SettingsError(Exception):
    """The settings file cannot be used; the text lists every fault in it."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Endpoints:
    """Triton gRPC addresses (`host:port`) of each stage's replicas; one server may host several stages."""

    thinker: tuple[str, ...]
    talker: tuple[str, ...] = ()
    code2wav: tuple[str, ...] = ()

    def of(self, stage: Stage) -> tuple[str, ...]:
        match stage:
            case Stage.THINKER:
                return self.thinker
            case Stage.TALKER:
                return self.talker
            case Stage.CODE2WAV:
                return self.code2wav


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Deployment:
    """One model that callers may name, and where its stages answer."""

    model: str = Field(min_length=1)
    endpoints: Endpoints
    voice: str = "Chelsie"
    """Voice of a spoken reply where the API lets the caller leave it out."""
    voices: tuple[str, ...] = VOICES
    created: int = 0
    """Unix time that /v1/models shows."""
    queue_s: float | None = Field(default=None, gt=0)
    """Longest that a stage lets a turn wait for a place; None: the timeouts are long enough as they are."""

    @model_validator(mode="after")
    def _voice_is_known(self) -> Self:
        if self.voice not in self.voices:
            raise ValueError(f"voice {self.voice!r} is not one of voices {list(self.voices)}")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ClusterSettings:
    """A Kubernetes cluster whose OmniDeployments are served, in place of a fixed list of deployments."""

    namespaces: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Those that are watched. None named: all of them."""
    kubeconfig: str | None = None
    """File that says how to reach the API server. Without it: the service account of this pod."""

    @field_validator("namespaces")
    @classmethod
    def _namespaces_differ(cls, namespaces: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(namespaces)) < len(namespaces):
            raise ValueError(f"a namespace is named twice: {list(namespaces)}")
        return namespaces


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Limits:
    body_bytes: int = Field(default=64 * 2**20, gt=0)
    bodies_bytes: int = Field(default=512 * 2**20, gt=0)
    """Of all requests whose bodies and media are being read; more are refused with Retry-After."""
    turns: int = Field(default=256, gt=0)
    """Turns in flight in this process; more are refused with Retry-After."""
    replay_bytes: int = Field(default=64 * 2**20, ge=0)
    """Kept of what a turn's stages were given, to give it to another replica when one is lost; a turn that
    needs more ends with the replica."""
    replays_bytes: int = Field(default=512 * 2**20, ge=0)
    """The same for all turns of this process together."""
    retry_after_s: int = Field(default=1, ge=1, le=120)
    slow_client_s: float = Field(default=60.0, gt=0)
    """Audio that may wait for a client to take it; more, and the client is cut off."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class MediaLimits:
    """What one media part, and one request, may weigh. Fetching URLs is off until hosts are allowed."""

    allowed_hosts: tuple[str, ...] = ()
    """Where media URLs may point: `host` (https), `http://host`, either with `:port`. Exact, no wildcards."""
    allow_private: bool = False
    """Let an allowed host have a private or loopback address."""
    parts: int = Field(default=64, gt=0)
    """Media parts in one request."""
    image_bytes: int = Field(default=20 * 2**20, gt=0)
    audio_bytes: int = Field(default=32 * 2**20, gt=0)
    video_bytes: int = Field(default=128 * 2**20, gt=0)
    pixels: int = Field(default=40_000_000, gt=0)
    """Of one picture or video frame, before scaling."""
    audio_s: float = Field(default=600.0, gt=0)
    video_s: float = Field(default=600.0, gt=0)
    frames: int = Field(default=256, gt=0)
    """Frames sampled from one video."""
    image_pixels: int = Field(default=16384 * 28 * 28, ge=28 * 28)
    """Of a picture as the thinker gets it: more is scaled down. The default is the checkpoints' own bound."""
    request_bytes: int = Field(default=160 * 2**20, gt=0)
    """All media of one request, before decoding."""
    request_s: float = Field(default=1200.0, gt=0)
    """Sound and video of one request together."""
    request_pixels: int = Field(default=2 * 24576 * 28 * 28, ge=28 * 28)
    """All pixels of one request as the thinker gets them, shared evenly by its pictures and videos; the
    default is 24576 tokens of video."""
    fetches: int = Field(default=32, gt=0)
    """URLs fetched at once; more wait, within their `fetch_s`."""
    workers: int = Field(default=2, gt=0)
    """Threads that decode."""
    waiting: int = Field(default=64, ge=0)
    """Decodes that may wait for a thread; more are refused as overloaded."""
    fetch_s: float = Field(default=20.0, gt=0)
    """From the first lookup to the last byte of one URL."""
    decode_s: float = Field(default=30.0, gt=0)

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_can_be_read(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        parse_allowed_hosts(hosts)
        return hosts


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Timeouts:
    """How long a turn waits for its stages, phase by phase."""

    body_s: float = Field(default=60.0, gt=0)
    """For a request's body to arrive."""
    connect_s: float = Field(default=3.0, gt=0)
    first_message_s: float = Field(default=120.0, gt=0)
    """From the turn's begin to the thinker's first message: queue and prefill."""
    idle_s: float = Field(default=60.0, gt=0)
    """Between two messages of any stage of a turn."""
    return_s: float = Field(default=10.0, ge=0)
    """How long a stage of a running turn that has lost its only replica waits for one to come."""
    total_s: float = Field(default=900.0, gt=0)
    heartbeat_s: float = Field(default=5.0, gt=0)
    """Between two `: ping` comments while a stream has nothing to say."""
    drain_s: int = Field(default=30, ge=0)
    """How long running turns may go on after SIGTERM."""

    def outlasting(self, queue_s: float | None) -> Self:
        """For turns that may wait so long for a place: the stage's refusal comes before the gateway's."""
        if queue_s is None:
            return self
        least_s = queue_s + _AFTER_QUEUE_S
        return replace(
            self, first_message_s=max(self.first_message_s, least_s), idle_s=max(self.idle_s, least_s)
        )


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Settings:
    host: str = "127.0.0.1"
    port: int = Field(default=GATEWAY_PORT, ge=0, le=65535)
    metrics_port: int = Field(default=GATEWAY_METRICS_PORT, ge=0, le=65535)
    cluster: ClusterSettings | None = None
    deployments: tuple[Deployment, ...]
    """What is served where there is no `cluster`."""
    limits: Limits = Limits()
    media: MediaLimits = MediaLimits()
    timeouts: Timeouts = Timeouts()

    @model_validator(mode="before")
    @classmethod
    def _cluster_needs_no_list(cls, given: ArgsKwargs | dict[str, object]) -> ArgsKwargs | dict[str, object]:
        named = given.kwargs if isinstance(given, ArgsKwargs) else given
        if named is not None and named.get("cluster") is not None:
            named.setdefault("deployments", ())
        return given

    @model_validator(mode="after")
    def _serves_one_source(self) -> Self:
        if bool(self.deployments) == (self.cluster is not None):
            raise ValueError("name either deployments to serve or a cluster to watch")
        names = [deployment.model for deployment in self.deployments]
        if len(set(names)) < len(names):
            raise ValueError(f"two deployments serve the same model: {names}")
        return self


def parse_settings(text: bytes) -> Settings:
    try:
        return TypeAdapter(Settings).validate_json(text)
    except ValidationError as error:
        faults = (
            f"  {'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']}" for fault in error.errors()
        )
        raise SettingsError("the gateway's settings cannot be used:\n" + "\n".join(faults)) from error


def read_settings(path: Path) -> Settings:
    try:
        return parse_settings(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"cannot read the gateway's settings from {path}: {error.strerror}") from error
