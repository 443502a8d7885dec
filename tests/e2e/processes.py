"""The processes of a deployment, seen from outside."""

import re
import socket
from pathlib import Path

import httpx
import psutil
from tercet_wire.names import TURNS_METRIC

from tests.e2e.served import Served

GONE_S = 90
ANSWER_S = 60


def members(launcher: int) -> list[psutil.Process]:
    return psutil.Process(launcher).children(recursive=True)


def tritons(launcher: int) -> list[psutil.Process]:
    return [each for each in members(launcher) if Path(_read_words(each)[0]).name == "tritonserver"]


def _read_words(process: psutil.Process) -> list[str]:
    """Its command line; of one that has ended meanwhile, a blank."""
    try:
        return process.cmdline() or [""]
    except psutil.NoSuchProcess:
        return [""]


def find_server(served: Served, stage: str) -> psutil.Process:
    """The Triton server that hosts this stage."""
    (server,) = find_servers(served, stage)
    return server


def find_servers(served: Served, stage: str) -> list[psutil.Process]:
    """All that host it."""
    ports = {f"--grpc-port={address.rpartition(':')[2]}" for address in served.triton[stage]}
    return [each for each in tritons(served.process.pid) if ports & {*_read_words(each)}]


def find_serving(served: Served, stage: str) -> list[psutil.Process]:
    """Those whose stage is loaded."""
    return [each for each in find_servers(served, stage) if _is_ready(each, stage)]


def _is_ready(server: psutil.Process, stage: str) -> bool:
    try:
        return httpx.get(
            f"http://127.0.0.1:{_read_port(server, 'http')}/v2/models/{stage}/ready", timeout=ANSWER_S
        ).is_success
    except (httpx.TransportError, psutil.NoSuchProcess):
        return False


def find_carrier(served: Served, stage: str) -> psutil.Process:
    """The one of them that has a turn in the stage, by its own word."""
    (carrier,) = (each for each in find_servers(served, stage) if count_turns(each, stage))
    return carrier


def count_turns(server: psutil.Process, stage: str) -> int:
    page = httpx.get(f"http://127.0.0.1:{_read_port(server, 'metrics')}/metrics", timeout=ANSWER_S).text
    found = re.search(rf'^{TURNS_METRIC}{{.*stage="{stage}".*}} (\d+)', page, re.MULTILINE)
    return int(found[1]) if found else 0


def _read_port(server: psutil.Process, kind: str) -> str:
    for word in _read_words(server):
        if word.startswith(f"--{kind}-port="):
            return word.partition("=")[2]
    raise psutil.NoSuchProcess(server.pid)


def find_stage(served: Served, stage: str) -> psutil.Process:
    """The process of the stage itself, a child of its server."""
    children = find_server(served, stage).children()
    (process,) = (each for each in children if f"{stage}_0_0" in _read_words(each))
    return process


def find_gateway(served: Served) -> psutil.Process:
    """The process itself, not the leash that runs it."""
    gateways = [each for each in members(served.process.pid) if "tercet_gateway" in _read_words(each)]
    return next(each for each in gateways if not each.children())


def list_regions(triton: psutil.Process) -> set[Path]:
    """The shared memory between a server and its stages."""
    maps = [each.path for each in triton.memory_maps()]
    return {Path(path) for path in maps if path.startswith("/dev/shm/triton")}


def wait_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=GONE_S)
    assert [each for each in alive if _is_left(each)] == []


def _is_left(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def list_ports(processes: list[psutil.Process]) -> set[int]:
    """Those that somebody could connect to."""
    connections = [each for process in processes for each in process.net_connections("tcp")]
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
