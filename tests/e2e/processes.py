"""The processes of a deployment, seen from outside."""

import socket
from pathlib import Path

import psutil

from tests.e2e.served import Served

GONE_S = 90


def members(launcher: int) -> list[psutil.Process]:
    return psutil.Process(launcher).children(recursive=True)


def tritons(launcher: int) -> list[psutil.Process]:
    return [each for each in members(launcher) if each.name() == "tritonserver"]


def find_server(served: Served, stage: str) -> psutil.Process:
    """The Triton server that hosts this stage."""
    _, _, port = served.triton[stage][0].rpartition(":")
    (server,) = (each for each in tritons(served.process.pid) if f"--grpc-port={port}" in each.cmdline())
    return server


def find_stage(served: Served, stage: str) -> psutil.Process:
    """The process of the stage itself, a child of its server."""
    children = find_server(served, stage).children()
    (process,) = (each for each in children if f"{stage}_0_0" in each.cmdline())
    return process


def find_gateway(served: Served) -> psutil.Process:
    """The process itself, not the leash that runs it."""
    gateways = [each for each in members(served.process.pid) if "tercet_gateway" in each.cmdline()]
    return next(each for each in gateways if not each.children())


def list_regions(triton: psutil.Process) -> set[Path]:
    """The shared memory between a server and its stages."""
    maps = [each.path for each in triton.memory_maps()]
    return {Path(path) for path in maps if path.startswith("/dev/shm/triton")}


def wait_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=GONE_S)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []


def list_ports(processes: list[psutil.Process]) -> set[int]:
    """Those that somebody could connect to."""
    connections = [each for process in processes for each in process.net_connections("tcp")]
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
