"""`tercet up omni.yaml`: the deployment as processes of this machine, until Ctrl-C.

The order is the whole of it: read the file, have the checkpoint, start the servers, then the gateway, say
where it is, watch over them all, and stop them in the opposite order.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from tercet_wire.names import GATEWAY_METRICS_PORT, GATEWAY_PORT
from tercet_wire.spec import ModelSpec, OmniDeployment

from tercet_cli.deployment_file import read_deployment
from tercet_cli.errors import CommandError
from tercet_cli.local_deployment import (
    Folders,
    GatewayAddress,
    LocalServer,
    find_model_repository,
    plan_gateway,
    plan_servers,
    write_files,
)
from tercet_cli.ports import claim_ports
from tercet_cli.readiness import wait_ready
from tercet_cli.sources import DEFAULT_CACHE
from tercet_cli.supervision import Command, keep_running, read_output
from tercet_cli.triton_process import prepare_triton


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What the user asked for, checked."""

    deployment: OmniDeployment
    address: GatewayAddress
    folders: Folders
    cache: Path
    media_hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """What `tercet fetch` says of a checkpoint."""

    folder: Path
    voices: tuple[str, ...]


def up(
    file: Annotated[Path, typer.Argument(help="The OmniDeployment, such as examples/demo.yaml.")],
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where the gateway listens; 0 for any free port.")
    ] = GATEWAY_PORT,
    host: Annotated[str, typer.Option(help="Address the gateway listens on.")] = "127.0.0.1",
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The gateway's metrics; 0 for any.")
    ] = GATEWAY_METRICS_PORT,
    model_cache: Annotated[
        Path, typer.Option(envvar="TERCET_CACHE", help="Where checkpoints and Triton's backend are kept.")
    ] = DEFAULT_CACHE,
    log_dir: Annotated[
        Path | None, typer.Option(help="Logs and settings. Default: up/NAME-PORT in the cache folder.")
    ] = None,
    media_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Where media URLs may point (again for more). Default: nowhere."),
    ] = None,
) -> None:
    """Serve a deployment on this machine: Triton with the three stages, and the gateway."""
    deployment = read_deployment(file)
    port, metrics_port = claim_ports(host, {"--port": port, "--metrics-port": metrics_port})
    address = GatewayAddress(host=host, port=port, metrics_port=metrics_port)
    run_folder = log_dir or model_cache / "up" / f"{deployment.metadata.name}-{address.port}"
    folders = Folders(model_repository=find_model_repository(), run=run_folder.resolve())
    request = _Request(
        deployment=deployment,
        address=address,
        folders=folders,
        cache=model_cache.resolve(),
        media_hosts=tuple(media_host or ()),
    )
    try:
        asyncio.run(_serve_until_stopped(request))
    except* CommandError as failures:
        raise _first(failures) from None
    typer.echo("Stopped.")


async def _serve_until_stopped(request: _Request) -> None:
    serving = asyncio.current_task()
    assert serving is not None  # noqa: S101  # a coroutine always runs in a task
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    try:
        await _serve(request)
    except asyncio.CancelledError:
        return  # the user's wish, carried out


async def _serve(request: _Request) -> None:
    with _writing_to(request.cache, "--model-cache"):
        triton = prepare_triton(request.cache)
    typer.echo(f"Getting {request.deployment.spec.model.source}")
    model = await _fetch(request.deployment.spec.model, request.cache)
    _check_voice(request.deployment.spec.speech.voice, model)
    servers = plan_servers(request.deployment, model.folder, triton, request.folders)
    with _writing_to(request.folders.run, "--log-dir"):
        write_files(
            request.deployment,
            servers,
            request.address,
            request.folders,
            voices=model.voices,
            media_hosts=request.media_hosts,
        )
    await _run(request, servers)


@contextmanager
def _writing_to(folder: Path, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(
            f"cannot write to {folder}: {error.strerror}: name another folder with {option}"
        ) from error


async def _run(request: _Request, servers: list[LocalServer]) -> None:
    """Until cancelled; the inner group ends first, so that a gateway that drains still has its stages."""
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as triton_group:
        for server in servers:
            _start(triton_group, server.command, ready)
        async with asyncio.TaskGroup() as gateway_group:
            _start(gateway_group, plan_gateway(request.folders), ready)
            for server in servers:
                await wait_ready(server.ready_urls, report=typer.echo)
            await wait_ready({"gateway": request.address.ready_url}, report=typer.echo)
            ready.set()
            _greet(request.deployment, request.address)


def _start(group: asyncio.TaskGroup, command: Command, ready: asyncio.Event) -> None:
    typer.echo(f"Starting {command.name} (log: {command.log_path})")
    group.create_task(keep_running(command, ready=ready, report=typer.echo))


async def _fetch(model: ModelSpec, cache: Path) -> _Model:
    """In a process of its own, since it loads torch, which the launcher would keep for as long as it runs."""
    command = (sys.executable, "-m", "tercet_cli.main", "fetch", model.source, "--voices")
    output = await read_output(
        (*command, "--revision", model.revision, "--cache", str(cache)),
        environment={**os.environ, "TRANSFORMERS_VERBOSITY": "error"},
    )
    if output is None:
        raise CommandError(f"spec.model.source: {model.source} cannot be had, for the reason above")
    folder, *voices = output.splitlines()
    return _Model(folder=Path(folder), voices=tuple(voices))


def _check_voice(voice: str, model: _Model) -> None:
    if model.voices and voice not in model.voices:
        raise CommandError(
            f"spec.speech.voice: the model has no voice {voice!r}: use one of {', '.join(model.voices)}"
        )


def _greet(deployment: OmniDeployment, address: GatewayAddress) -> None:
    body = f'{{"model": "{deployment.metadata.name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    typer.echo(
        f"\nReady: {address.url}/v1\n"
        f"Metrics: {address.metrics_url}\n"
        f"Try: curl {address.url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'\n"
        "Stop: Ctrl-C"
    )


def _first(failures: BaseExceptionGroup[CommandError]) -> CommandError:
    """Of the leaves of the group; the others follow from it."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
