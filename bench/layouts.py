"""`python -m bench.layouts`: the memory of each GPU in the examples, as docs/gpu-layouts.md shows it.

The figures are those of `sizing`, added up over the stages that share a device; which stage has which, and
how much `kvMemory`, the operator's own plan of the servers says. Computed, not measured.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tercet_cli.deployment_file import read_deployment
from tercet_operator.resources.triton import ServerPlan, build_servers
from tercet_wire.names import Stage
from tercet_wire.settings import StageSettings

from bench.sizing import HALF, RUNTIME, WORKSPACE, Model, format_gib, read_models, render_table

EXAMPLES: Final = Path(__file__).parents[1] / "examples"
FILES: Final = ("qwen-7b-one-gpu.yaml", "qwen-7b.yaml", "three-gpus.yaml", "eight-gpus.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Bytes on one device."""

    weights: int
    state: int
    workspace: int
    joined: int
    """What torch may keep of the matrices that a stage has joined while it loaded."""

    @property
    def together(self) -> int:
        return self.weights + self.state + self.workspace

    def __add__(self, other: "Need") -> "Need":
        return Need(
            weights=self.weights + other.weights,
            state=self.state + other.state,
            workspace=self.workspace + other.workspace,
            joined=self.joined + other.joined,
        )


def add_up(server: ServerPlan, model: Model) -> dict[str, Need]:
    """By device, in the order of their numbers."""
    needs: dict[str, Need] = {}
    for settings in server.stages:
        for device in settings.devices:
            need = _need(settings, model)
            needs[device] = needs[device] + need if device in needs else need
    return dict(sorted(needs.items()))


def _need(settings: StageSettings, model: Model) -> Need:
    stage = settings.stage
    is_last = stage is Stage.CODE2WAV
    return Need(
        weights=model.weight_bytes(stage),
        state=model.state_bytes(stage, settings.max_turns) if is_last else settings.kv_bytes,
        workspace=RUNTIME + WORKSPACE[stage],
        joined=model.values.fused.get(stage, 0) * HALF,
    )


def render_layouts(files: Sequence[str], models: Mapping[str, Model]) -> str:
    return render_table(_list_devices(files, models))


def _list_devices(files: Sequence[str], models: Mapping[str, Model]) -> Iterator[Sequence[str]]:
    yield (
        "file",
        "pods",
        "GPU",
        "stages",
        "weights",
        "state",
        "workspace",
        "together",
        "while loading, at most",
    )
    for name in files:
        deployment = read_deployment(EXAMPLES / name)
        model = models[deployment.spec.model.source.rpartition("-")[2]]
        for server in build_servers(deployment, checkpoint="", cores=len(Stage)):
            for device, need in add_up(server, model).items():
                stages = ", ".join(each.stage for each in server.stages if device in each.devices)
                parts = (need.weights, need.state, need.workspace, need.together, need.together + need.joined)
                yield (name, str(server.replicas), device, stages, *(format_gib(part) for part in parts))


if __name__ == "__main__":
    print(render_layouts(FILES, {model.name: model for model in read_models()}))
