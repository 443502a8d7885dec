"""What `tercet up` starts for a deployment: commands, files and addresses, worked out before anything runs.

Used by `up`. The servers' arguments and settings are `tercet_operator`'s, the same ones that pods get; this
module adds what a machine without Kubernetes must decide: ports, folders, GPUs, environment.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tercet_operator.resources.gateway import Serving, build_gateway_settings
from tercet_operator.resources.triton import (
    EXIT_TIMEOUT_S,
    Place,
    ServerPlan,
    build_arguments,
    build_environment,
    build_servers,
    build_settings_files,
)
from tercet_wire.names import Stage
from tercet_wire.spec import OmniDeployment

from tercet_cli.gpus import deal_gpus, list_gpus
from tercet_cli.ports import pick_ports
from tercet_cli.supervision import Command
from tercet_cli.triton_process import TritonInstallation

LOOPBACK: Final = "127.0.0.1"
DRAIN_S: Final = 5
"""How long turns may go on after Ctrl-C; a cluster waits much longer."""
GATEWAY_GRACE_S: Final = DRAIN_S + 5.0
TRITON_GRACE_S: Final = EXIT_TIMEOUT_S + 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAddress:
    host: str
    port: int
    metrics_port: int

    @property
    def url(self) -> str:
        return f"http://{self._reachable_host}:{self.port}"

    @property
    def ready_url(self) -> str:
        return f"{self.url}/readyz"

    @property
    def metrics_url(self) -> str:
        return f"http://{self._reachable_host}:{self.metrics_port}/metrics"

    @property
    def _reachable_host(self) -> str:
        """As it stands in a URL."""
        host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)  # noqa: S104  # compared, not bound
        return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """One Triton process."""

    command: Command
    plan: ServerPlan
    place: Place

    @property
    def grpc_address(self) -> str:
        return f"{LOOPBACK}:{self.place.grpc_port}"

    @property
    def ready_urls(self) -> dict[str, str]:
        """What answers 200 once the model of that name serves."""
        base = f"http://{LOOPBACK}:{self.place.http_port}/v2/models"
        return {f"{self.command.name}: {model}": f"{base}/{model}/ready" for model in self.plan.models}


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """`model_repository` holds all the models there are, `run` the settings and logs of this run."""

    model_repository: Path
    run: Path


def find_model_repository() -> Path:
    """Inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "model_repo"
    return installed if installed.is_dir() else package.parents[1] / "model_repo"


def plan_servers(
    deployment: OmniDeployment, checkpoint: Path, triton: TritonInstallation, folders: Folders
) -> list[LocalServer]:
    """Writes nothing; picks free ports."""
    plans = [
        (plan, replica)
        for plan in build_servers(deployment, checkpoint=str(checkpoint), cores=len(os.sched_getaffinity(0)))
        for replica in range(plan.replicas)
    ]
    visible = deal_gpus([plan.gpus for plan, _ in plans], list_gpus(os.environ))
    ports = iter(pick_ports(3 * len(plans)))
    servers = []
    for (plan, replica), gpus in zip(plans, visible, strict=True):
        name = f"{plan.name}-{replica}"
        place = Place(
            model_repository=str(folders.run / name / "models"),
            backend_directory=str(triton.backend_directory),
            settings_directory=str(folders.run / name),
            address=LOOPBACK,
            http_port=next(ports),
            grpc_port=next(ports),
            metrics_port=next(ports),
        )
        command = Command(
            name=name,
            arguments=(str(triton.binary), *build_arguments(plan, place)),
            environment={**triton.environment(os.environ), **build_environment(plan, place), **gpus},
            log_path=folders.run / f"{name}.log",
            grace_s=TRITON_GRACE_S,
        )
        servers.append(LocalServer(command=command, plan=plan, place=place))
    return servers


def plan_gateway(folders: Folders) -> Command:
    return Command(
        name="gateway",
        arguments=(sys.executable, "-m", "tercet_gateway", "--settings", str(folders.run / "gateway.json")),
        environment=os.environ,
        log_path=folders.run / "gateway.log",
        grace_s=GATEWAY_GRACE_S,
    )


def write_files(
    deployment: OmniDeployment,
    servers: list[LocalServer],
    address: GatewayAddress,
    folders: Folders,
    *,
    voices: Sequence[str] = (),
    media_hosts: Sequence[str] = (),
) -> None:
    """The settings and models that the processes read, and empty logs."""
    folders.run.mkdir(parents=True, exist_ok=True)
    for server in servers:
        folder = Path(server.place.settings_directory)
        folder.mkdir(exist_ok=True)
        for name, text in build_settings_files(server.plan).items():
            (folder / name).write_text(text)
        _link_models(server, folders.model_repository)
    serving = Serving(deployment=deployment, endpoints=_collect_endpoints(servers), voices=voices)
    settings = build_gateway_settings(
        {deployment.metadata.name: serving},
        host=address.host,
        port=address.port,
        metrics_port=address.metrics_port,
        drain_s=DRAIN_S,
        media_hosts=media_hosts,
    )
    (folders.run / "gateway.json").write_text(json.dumps(settings, indent=2))
    for command in [*(server.command for server in servers), plan_gateway(folders)]:
        command.log_path.write_bytes(b"")


def _link_models(server: LocalServer, source: Path) -> None:
    """Anew, since an earlier run may have had other models in the same folder."""
    target = Path(server.place.model_repository)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for model in server.plan.models:
        (target / model).symlink_to(source / model)


def _collect_endpoints(servers: list[LocalServer]) -> Mapping[Stage, list[str]]:
    endpoints: dict[Stage, list[str]] = {stage: [] for stage in Stage}
    for server in servers:
        for settings in server.plan.stages:
            endpoints[settings.stage].append(server.grpc_address)
    return endpoints
