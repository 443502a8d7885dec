"""What a machine without Kubernetes decides: ports, GPUs, folders, and the files the processes read."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from tercet_cli.errors import CommandError
from tercet_cli.gpus import deal_gpus, list_gpus
from tercet_cli.local_deployment import (
    Folders,
    GatewayAddress,
    find_model_repository,
    plan_servers,
    write_files,
)
from tercet_cli.ports import claim_ports, pick_ports
from tercet_cli.triton_process import TritonInstallation, prepare_triton
from tercet_gateway.settings import parse_settings
from tercet_wire.names import Stage
from tercet_wire.settings import StageSettings
from tercet_wire.spec import OmniDeployment

TRITON = TritonInstallation(
    binary=Path("/triton/bin/tritonserver"), backend_directory=Path("/backends"), libraries=(Path("/libs"),)
)
ADDRESS = GatewayAddress(host="127.0.0.1", port=8000, metrics_port=9400)


def deploy(layout: str, **stages: Any) -> OmniDeployment:
    spec = {"model": {"source": "demo://tiny"}, "layout": layout, "stages": stages}
    return OmniDeployment.model_validate({"metadata": {"name": "demo"}, "spec": spec})


@pytest.mark.parametrize(
    ("layout", "stages", "names"),
    [
        ("Colocated", {}, ["demo-0"]),
        ("Disaggregated", {"talker": {"replicas": 2}}, ["thinker-0", "talker-0", "talker-1", "code2wav-0"]),
    ],
)
def test_the_files_are_what_gateway_and_stages_read(
    tmp_path: Path, layout: str, stages: dict[str, Any], names: list[str]
) -> None:
    """The gateway's own reader takes its file, and each stage has every replica's address in it."""
    folders = Folders(model_repository=Path("/models"), run=tmp_path / "run")
    deployment = deploy(layout, **stages)
    servers = plan_servers(deployment, Path("/checkpoint"), TRITON, folders)
    write_files(deployment, servers, ADDRESS, folders)

    settings = parse_settings((folders.run / "gateway.json").read_bytes())
    (served,) = settings.deployments
    assert (settings.port, settings.metrics_port, served.model) == (8000, 9400, "demo")
    assert [server.command.name.removeprefix("demo-") for server in servers] == [
        name.removeprefix("demo-") for name in names
    ]
    for stage in Stage:
        hosts = [server for server in servers if stage in server.plan.models]
        assert list(served.endpoints.of(stage)) == [server.grpc_address for server in hosts]
        for server in hosts:
            text = (Path(server.command.environment["TERCET_SETTINGS_DIR"]) / f"{stage}.json").read_text()
            assert StageSettings.model_validate(json.loads(text)).checkpoint == "/checkpoint"


def test_the_gateway_learns_of_voices_and_media_hosts(tmp_path: Path) -> None:
    """The checkpoint's voices, the launcher's hosts; without voices, those that are published."""
    folders = Folders(model_repository=Path("/models"), run=tmp_path)
    spec = {"model": {"source": "demo://tiny"}, "speech": {"voice": "Ada"}}
    deployment = OmniDeployment.model_validate({"metadata": {"name": "demo"}, "spec": spec})
    servers = plan_servers(deployment, Path("/c"), TRITON, folders)
    hosts = ("cdn.example.com", "http://files.example.com:8080")
    write_files(deployment, servers, ADDRESS, folders, voices=("Ada", "Bob"), media_hosts=hosts)
    settings = parse_settings((tmp_path / "gateway.json").read_bytes())
    assert settings.media.allowed_hosts == hosts
    assert (settings.deployments[0].voice, settings.deployments[0].voices) == ("Ada", ("Ada", "Bob"))

    write_files(deploy("Colocated"), servers, ADDRESS, folders)
    settings = parse_settings((tmp_path / "gateway.json").read_bytes())
    assert settings.media.allowed_hosts == ()
    assert settings.deployments[0].voices == ("Chelsie", "Ethan")


@pytest.mark.parametrize(
    ("layout", "names"),
    [("Colocated", ["code2wav", "omni", "talker", "thinker"]), ("Disaggregated", ["talker"])],
)
def test_each_server_finds_its_own_models_and_no_others(
    tmp_path: Path, layout: str, names: list[str]
) -> None:
    """Triton loads all it finds; a second run in the same folder finds the first one's links."""
    folders = Folders(model_repository=find_model_repository(), run=tmp_path)
    for _ in range(2):
        servers = plan_servers(deploy(layout), Path("/c"), TRITON, folders)
        write_files(deploy(layout), servers, ADDRESS, folders)
    (server,) = (each for each in servers if Stage.TALKER in each.plan.models)
    repository = Path(server.place.model_repository)
    assert sorted(path.name for path in repository.iterdir()) == names
    assert all((repository / name / "config.pbtxt").is_file() for name in names)


def test_servers_never_share_a_port(tmp_path: Path) -> None:
    """Three ports each, all different."""
    folders = Folders(model_repository=Path("/models"), run=tmp_path)
    servers = plan_servers(deploy("Disaggregated", talker={"replicas": 3}), Path("/c"), TRITON, folders)
    ports = [
        port
        for server in servers
        for port in (server.place.http_port, server.place.grpc_port, server.place.metrics_port)
    ]
    assert len(set(ports)) == 3 * 5


def test_a_taken_port_names_the_option_that_moves_it() -> None:
    """Before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CommandError, match="--metrics-port"):
            claim_ports("127.0.0.1", {"--port": 0, "--metrics-port": taken.getsockname()[1]})


def test_one_port_cannot_be_claimed_twice() -> None:
    """The gateway and its metrics would fight for it."""
    (port,) = pick_ports(1)
    with pytest.raises(CommandError, match="--metrics-port"):
        claim_ports("127.0.0.1", {"--port": port, "--metrics-port": port})


def test_an_unknown_address_names_its_option() -> None:
    """No port would help."""
    with pytest.raises(CommandError, match="--host"):
        claim_ports("no host", {"--port": 0})


def test_port_zero_is_any_free_port() -> None:
    """As everywhere else."""
    assert all(port > 0 for port in claim_ports("127.0.0.1", {"--port": 0, "--metrics-port": 0}))
    assert len(set(pick_ports(20))) == 20


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("box.example.com", "http://box.example.com:8000"),
    ],
)
def test_what_it_prints_can_be_asked(host: str, url: str) -> None:
    """An address of the launcher's own, also where the gateway listens on all."""
    assert GatewayAddress(host=host, port=8000, metrics_port=9400).url == url


@pytest.mark.parametrize(
    ("asked", "gpus", "dealt"),
    [
        ([0, 0], [], [None, None]),
        ([1, 2], ["0", "1", "2"], ["0", "1,2"]),
        ([1, 0, 1], ["4", "6"], ["4", None, "6"]),
    ],
)
def test_gpus_are_dealt_in_order(asked: list[int], gpus: list[str], dealt: list[str | None]) -> None:
    """A server that asks for none keeps the launcher's view."""
    environments = list(deal_gpus(asked, gpus))
    assert [each.get("CUDA_VISIBLE_DEVICES") for each in environments] == dealt


def test_more_gpus_than_there_are_is_an_error() -> None:
    """With both numbers, and what to change."""
    with pytest.raises(CommandError, match=r"3 GPUs and this machine has 1.*devices"):
        list(deal_gpus([1, 2], ["0"]))


def test_the_launchers_own_view_of_the_gpus_counts() -> None:
    """CUDA_VISIBLE_DEVICES narrows what may be dealt."""
    assert list_gpus({"CUDA_VISIBLE_DEVICES": "3,5"}) == ["3", "5"]
    assert list_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []


def test_the_wheels_triton_is_made_ready_once(tmp_path: Path) -> None:
    """Backend and stub lie together, and a second launcher finds them there."""
    first = prepare_triton(tmp_path)
    backend = first.backend_directory / "python"
    assert {"libtriton_python.so", "triton_python_backend_stub"} <= {path.name for path in backend.iterdir()}
    assert prepare_triton(tmp_path) == first
    assert [path.name for path in (tmp_path / "triton").iterdir()] == [first.backend_directory.name]


def test_triton_finds_its_libraries_and_this_python_first() -> None:
    """Before whatever the user's shell has."""
    environment = TRITON.environment({"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/opt", "HOME": "/home"})
    assert environment["LD_LIBRARY_PATH"] == "/libs:/opt"
    assert environment["PATH"].endswith(":/usr/bin")
    assert environment["HOME"] == "/home"


def test_the_model_repository_is_found() -> None:
    """It is data beside the code, wherever that is installed."""
    assert (find_model_repository() / "thinker" / "config.pbtxt").is_file()
