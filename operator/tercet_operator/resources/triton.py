"""From a deployment to the Triton servers that host its stages: pure, and the only such path.

`tercet up` runs the plans as local processes and the operator as pods; both take arguments, settings and
environment from here. What differs between the two (folders, ports, cores) is handed in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tercet_wire.names import (
    COLOCATED,
    ENSEMBLE,
    GPU_RESOURCE,
    SETTINGS_DIR_VARIABLE,
    TRITON_GRPC_PORT,
    TRITON_HTTP_PORT,
    TRITON_METRICS_PORT,
    Stage,
)
from tercet_wire.settings import StageSettings
from tercet_wire.spec import OmniDeployment, StageSpec

from tercet_operator.resources.quantities import parse_bytes

EXIT_TIMEOUT_S: Final = 10
"""How long a server that was told to stop lets its turns go on; rollouts drain before they stop it."""

PING_INTERVAL_MS: Final = 10_000
"""The shortest time between two pings that a server takes without complaint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """One kind of Triton server: `replicas` processes or pods that are all alike."""

    name: str
    stages: tuple[StageSettings, ...]
    replicas: int
    gpus: int
    """GPUs that each replica sees as cuda:0, cuda:1, ..."""

    @property
    def kind(self) -> str:
        """The stage it hosts, or `COLOCATED` for all three."""
        return self.stages[0].stage.value if len(self.stages) == 1 else COLOCATED

    @property
    def models(self) -> tuple[str, ...]:
        """What the server loads; one that hosts all the stages offers them as an ensemble too."""
        stages = tuple(settings.stage.value for settings in self.stages)
        return (*stages, ENSEMBLE) if len(stages) == len(Stage) else stages

    @property
    def threads(self) -> int:
        """Of each stage's process, which all inherit one environment."""
        return max(settings.threads for settings in self.stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a server runs: its folders and ports, in a pod or on this machine."""

    model_repository: str
    """Holds the models of the server and no others, since Triton loads all that it finds."""
    backend_directory: str
    settings_directory: str
    address: str = "0.0.0.0"  # noqa: S104  # a pod's probes and its gateway come from outside
    http_port: int = TRITON_HTTP_PORT
    grpc_port: int = TRITON_GRPC_PORT
    metrics_port: int = TRITON_METRICS_PORT


def build_servers(deployment: OmniDeployment, *, checkpoint: str, cores: int) -> tuple[ServerPlan, ...]:
    """`cores`: of the machine, shared by the three stages unless the spec gives a stage its threads."""
    if deployment.spec.layout == "Colocated":
        return (_build_colocated(deployment, checkpoint, cores),)
    return tuple(_build_single(deployment, stage, checkpoint, cores) for stage in Stage)


def build_arguments(server: ServerPlan, place: Place) -> tuple[str, ...]:
    """What follows `tritonserver` on the command line."""
    turns = sum(settings.max_turns + settings.queue_turns for settings in server.stages)
    return (
        f"--model-repository={place.model_repository}",
        f"--backend-directory={place.backend_directory}",
        # Whoever may load a model may run code here: what the folder holds is all there ever is.
        "--model-control-mode=none",
        # The configurations are whole; completing them would start every stage's process twice.
        "--disable-auto-complete-config",
        f"--http-address={place.address}",
        f"--http-port={place.http_port}",
        f"--grpc-address={place.address}",
        f"--grpc-port={place.grpc_port}",
        f"--metrics-address={place.address}",
        f"--metrics-port={place.metrics_port}",
        f"--allow-gpu-metrics={'true' if server.gpus else 'false'}",
        f"--grpc-infer-allocation-pool-size={turns}",
        # A gateway pings a silent connection every 20 s; by default Triton would hang up on it.
        f"--grpc-http2-min-recv-ping-interval-without-data={PING_INTERVAL_MS}",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
    )


def build_environment(server: ServerPlan, place: Place) -> Mapping[str, str]:
    """What a server needs beside its arguments; the host adds the paths of its own installation."""
    return {
        SETTINGS_DIR_VARIABLE: place.settings_directory,
        "OMP_NUM_THREADS": str(server.threads),
        "TOKENIZERS_PARALLELISM": "false",
    }


def build_settings_files(server: ServerPlan) -> Mapping[str, str]:
    """The files of the settings folder, by name."""
    return {f"{settings.stage}.json": settings.model_dump_json(indent=2) for settings in server.stages}


def _build_colocated(deployment: OmniDeployment, checkpoint: str, cores: int) -> ServerPlan:
    """The spec sees to it that the stages have as many replicas each and name their GPUs."""
    settings = tuple(_build_stage(deployment, stage, checkpoint, cores) for stage in Stage)
    return ServerPlan(
        name=deployment.metadata.name,
        stages=settings,
        replicas=deployment.spec.stages.thinker.replicas,
        gpus=_count_named_gpus(settings),
    )


def _build_single(deployment: OmniDeployment, stage: Stage, checkpoint: str, cores: int) -> ServerPlan:
    spec = deployment.spec.stages.of(stage)
    return ServerPlan(
        name=f"{deployment.metadata.name}-{stage}",
        stages=(_build_stage(deployment, stage, checkpoint, cores),),
        replicas=spec.replicas,
        gpus=_count_gpus(spec),
    )


def _build_stage(deployment: OmniDeployment, stage: Stage, checkpoint: str, cores: int) -> StageSettings:
    spec = deployment.spec.stages.of(stage)
    return StageSettings(
        stage=stage,
        checkpoint=checkpoint,
        # The spec's choice is for thinker and talker; code2wav's noise and solver need full precision.
        dtype="float32" if stage is Stage.CODE2WAV else deployment.spec.model.dtype,
        quantization=spec.quantization,
        devices=spec.devices or tuple(f"cuda:{gpu}" for gpu in range(_count_gpus(spec))) or ("cpu",),
        threads=spec.threads or max(1, cores // len(Stage)),
        max_turns=spec.max_turns,
        queue_turns=spec.queue_turns,
        queue_s=spec.queue_seconds,
        max_load=spec.max_load,
        kv_bytes=parse_bytes(spec.kv_memory),
        block_tokens=spec.block_tokens,
        chunk_tokens=spec.chunk_tokens,
        prefix_cache=spec.prefix_cache,
        window=deployment.spec.speech.window(),
    )


def _count_named_gpus(stages: Sequence[StageSettings]) -> int:
    """As many as the highest index asks for: a pod's GPUs are numbered from 0."""
    named = (name.removeprefix("cuda:") for stage in stages for name in stage.devices)
    return max((int(index) + 1 for index in named if index.isdecimal()), default=0)


def _count_gpus(spec: StageSpec) -> int:
    return int(spec.resources.limits.get(GPU_RESOURCE, 0))
