"""compose.yaml's services as plain processes: their own commands, environment, settings and health checks.

What a container would bring is put in their place: the folders of its image, the volume, addresses and free
ports of this machine. Nothing else of a service's words is changed.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tercet_cli.local_deployment import find_model_repository
from tercet_cli.ports import pick_ports
from tercet_cli.triton_process import TritonInstallation, prepare_triton

from tests.operator.compose_file import read_services

ROOT = Path(__file__).parents[2]
HEALTHY_S = 900
FETCH_S = 600
STOP_S = 180
POLL_S = 0.2
PORTS = (8000, 8100, 8101, 8102, 9400)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Stands in for images, volume and network; `words`: what a service says, and what that means here."""

    folder: Path
    triton: TritonInstallation
    words: dict[str, str]

    def translate(self, text: str) -> str:
        anyone = "|".join(map(re.escape, self.words))
        return re.sub(rf"(?<!\w)({anyone})(?!\w)", lambda found: self.words[found[0]], text)

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.translate('8000')}/v1"

    def environment(self, service: dict[str, Any]) -> dict[str, str]:
        given = service.get("environment", {})
        inherited = {**os.environ, "TERCET_CACHE": str(self.folder), "TRANSFORMERS_VERBOSITY": "error"}
        own = {name: self.translate(value) for name, value in given.items() if value is not None}
        return {**self.triton.environment(inherited), **own}


def prepare_machine(folder: Path, profile: str) -> Machine:
    """Its settings are copies of the profile's, in the same words as its commands."""
    triton = prepare_triton(Path.home() / ".cache" / "tercet")
    settings = folder / "settings"
    words = {
        "/opt/tercet/models/omni": str(find_model_repository()),
        "/opt/tritonserver/backends": str(triton.backend_directory),
        "/var/cache/tercet": str(folder / "models"),
        "/etc/tercet": str(settings),
        "0.0.0.0": "127.0.0.1",
        f"server-{profile}": "127.0.0.1",
        **{str(port): str(free) for port, free in zip(PORTS, pick_ports(len(PORTS)), strict=True)},
    }
    machine = Machine(folder=folder, triton=triton, words=words)
    settings.mkdir()
    for path in (ROOT / "compose" / profile).iterdir():
        (settings / path.name).write_text(machine.translate(path.read_text()))
    return machine


@contextmanager
def compose_up(folder: Path, profile: str) -> Iterator[Machine]:
    """Fetch, server, gateway, each when the one before it has done what `depends_on` waits for."""
    services = read_services()
    machine = prepare_machine(folder, profile)
    fetch = services[f"fetch-{profile}"]
    subprocess.run(
        _command(fetch, machine),
        env=machine.environment(fetch),
        check=True,
        timeout=FETCH_S,
        capture_output=True,
    )
    with ExitStack() as running:
        for name in (f"server-{profile}", f"gateway-{profile}"):
            running.enter_context(_run(name, services[name], machine))
        yield machine


@contextmanager
def _run(name: str, service: dict[str, Any], machine: Machine) -> Iterator[None]:
    """Healthy when the block begins; ends with SIGTERM, as containers do."""
    log = machine.folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(service, machine),
            env=machine.environment(service),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_healthy(process, service, machine, log)
        yield
    finally:
        process.terminate()
        process.wait(STOP_S)


def _command(service: dict[str, Any], machine: Machine) -> list[str]:
    """With the programs of this environment; the gateway's image has its own as entry point."""
    program, *arguments = service["command"]
    programs = {
        "tercet": [sys.executable, "-m", "tercet_cli.main"],
        "tritonserver": [str(machine.triton.binary)],
        "--settings": [sys.executable, "-m", "tercet_gateway", "--settings"],
    }
    return [*programs[program], *map(machine.translate, arguments)]


def _wait_healthy(
    process: subprocess.Popen[bytes], service: dict[str, Any], machine: Machine, log: Path
) -> None:
    kind, program, *arguments = service["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python3")
    check = [sys.executable, *map(machine.translate, arguments)]
    deadline = time.monotonic() + HEALTHY_S
    while subprocess.run(check, capture_output=True, check=False).returncode != 0:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(POLL_S)
