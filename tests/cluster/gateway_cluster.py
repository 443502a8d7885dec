"""What the gateway's tests put into a cluster, and a way to take the API server from it.

Servers are fakes on this machine. An EndpointSlice may not hold a loopback address, but a name that leads to
one: all names below `localhost` do.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from tercet_gateway.settings import ClusterSettings, Settings, Timeouts
from tercet_wire.names import COLOCATED, PLURAL

from tests.cluster.kubectl import Kubectl
from tests.gateway.cluster_objects import NEW, READY, build_deployment, build_slice
from tests.gateway.fake_triton import FakeTriton

LOOPBACK_NAME = "pod-1.localhost"
BODY = {"model": "assistant", "messages": [{"role": "user", "content": "Hi"}]}
SPOKEN = BODY | {"modalities": ["text", "audio"], "audio": {"voice": "Ethan", "format": "wav"}}


def watch_settings(kubeconfig: Path, *namespaces: str) -> Settings:
    return Settings(
        cluster=ClusterSettings(namespaces=namespaces, kubeconfig=str(kubeconfig)),
        deployments=(),
        timeouts=Timeouts(connect_s=1, heartbeat_s=30),
    )


async def put(kubectl: Kubectl, document: dict[str, Any]) -> None:
    await asyncio.to_thread(kubectl.run, "apply", "--filename=-", document=json.dumps(document))


async def put_deployment(kubectl: Kubectl, name: str = "assistant", *, voice: str = "Chelsie") -> None:
    await put(kubectl, build_deployment(name, namespace=kubectl.namespace, voice=voice))


async def put_status(kubectl: Kubectl, status: dict[str, Any], name: str = "assistant") -> None:
    patch = json.dumps({"status": status})
    command = ("patch", PLURAL, name, "--subresource=status", "--type=merge", f"--patch={patch}")
    await asyncio.to_thread(kubectl.run, *command)


async def put_server(
    kubectl: Kubectl,
    triton: FakeTriton,
    generation: str = NEW,
    *,
    deployment: str = "assistant",
    conditions: dict[str, bool] | None = None,
) -> None:
    """A Colocated server of this generation: the fake."""
    port = int(triton.endpoint.rpartition(":")[2])
    await put(
        kubectl,
        build_slice(
            COLOCATED,
            port,
            generation=generation,
            deployment=deployment,
            namespace=kubectl.namespace,
            addresses=[LOOPBACK_NAME],
            conditions=conditions or READY,
        )
        | {"addressType": "FQDN"},
    )


async def delete(kubectl: Kubectl, kind: str, name: str) -> None:
    await asyncio.to_thread(kubectl.run, "delete", kind, name)


def read_kubeconfig(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def write_kubeconfig(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


# --- an API server that can go away ---------------------------------------------------------------


class Line:
    """A TCP line to the API server. `cut` ends what runs over it and lets nothing through."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self.connections = 0

    def cut(self) -> None:
        self._is_cut = True
        for writer in self._writers:
            writer.close()

    def mend(self) -> None:
        self._is_cut = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._is_cut:
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pump(reader, far_writer))
                tasks.create_task(_pump(far_reader, writer))
        finally:
            self._writers -= ends


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def open_line(kubeconfig: Path, folder: Path) -> AsyncIterator[tuple[Line, Path]]:
    """A line, and the kubeconfig that leads over it."""
    document = read_kubeconfig(kubeconfig)
    target = urlsplit(document["clusters"][0]["cluster"]["server"])
    assert target.hostname is not None
    assert target.port is not None
    line = Line(target.hostname, target.port)
    server = await asyncio.start_server(line.carry, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    try:
        yield line, write_kubeconfig(folder, document)
    finally:
        server.close()
        line.cut()
