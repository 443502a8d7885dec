"""From a spec to Triton servers, as tables."""

from typing import Any

import pytest
from tercet_operator.resources.quantities import parse_bytes
from tercet_operator.resources.triton import (
    Place,
    ServerPlan,
    build_arguments,
    build_environment,
    build_servers,
    build_settings_files,
)
from tercet_wire.names import SETTINGS_DIR_VARIABLE, Stage
from tercet_wire.settings import StageSettings
from tercet_wire.spec import OmniDeployment

ONE_GPU = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
PLACE = Place(model_repository="/models", backend_directory="/backends", settings_directory="/etc/tercet")


def deploy(layout: str = "Disaggregated", speech: Any = None, **stages: Any) -> OmniDeployment:
    spec = {"model": {"source": "demo://tiny"}, "layout": layout, "stages": stages, "speech": speech or {}}
    return OmniDeployment.model_validate({"metadata": {"name": "a"}, "spec": spec})


def plan(deployment: OmniDeployment, cores: int = 8) -> tuple[ServerPlan, ...]:
    return build_servers(deployment, checkpoint="/checkpoint", cores=cores)


@pytest.mark.parametrize(
    ("quantity", "count"),
    [
        ("7", 7),
        ("3k", 3000),
        ("2M", 2_000_000),
        ("1G", 10**9),
        ("2Ki", 2048),
        ("512Mi", 2**29),
        ("1Gi", 2**30),
    ],
)
def test_quantities_become_bytes(quantity: str, count: int) -> None:
    """Decimal and binary suffixes differ by a twentieth and more."""
    assert parse_bytes(quantity) == count


def test_each_stage_gets_a_server_of_its_own() -> None:
    """Disaggregated stages scale apart."""
    servers = plan(deploy(talker={"replicas": 3}))
    assert [(server.name, server.models, server.replicas) for server in servers] == [
        ("a-thinker", ("thinker",), 1),
        ("a-talker", ("talker",), 3),
        ("a-code2wav", ("code2wav",), 1),
    ]


def test_a_colocated_server_hosts_all_stages_and_their_ensemble() -> None:
    """One server, four models."""
    (server,) = plan(deploy("Colocated"))
    assert server.name == "a"
    assert server.models == ("thinker", "talker", "code2wav", "omni")


@pytest.mark.parametrize(
    ("layout", "stages", "devices", "gpus"),
    [
        ("Disaggregated", {}, [("cpu",), ("cpu",), ("cpu",)], [0, 0, 0]),
        (
            "Disaggregated",
            {"thinker": ONE_GPU, "talker": ONE_GPU},
            [("cuda:0",), ("cuda:0",), ("cpu",)],
            [1, 1, 0],
        ),
        (
            "Colocated",
            {"thinker": {"devices": ["cuda:0", "cuda:1"]}, "code2wav": {"devices": ["cuda:1"]}},
            [("cuda:0", "cuda:1"), ("cpu",), ("cuda:1",)],
            [2],
        ),
        ("Colocated", {}, [("cpu",), ("cpu",), ("cpu",)], [0]),
    ],
)
def test_devices_follow_the_gpus_asked_for(
    layout: str, stages: dict[str, Any], devices: list[tuple[str, ...]], gpus: list[int]
) -> None:
    """A server's GPUs are numbered from 0, across the stages it hosts."""
    servers = plan(deploy(layout, **stages))
    assert [settings.devices for server in servers for settings in server.stages] == devices
    assert [server.gpus for server in servers] == gpus


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 2), (48, 16)])
def test_stages_share_the_cores(cores: int, threads: int) -> None:
    """A third each, never none."""
    servers = plan(deploy(), cores)
    assert [settings.threads for server in servers for settings in server.stages] == [threads] * 3


def test_the_spec_reaches_the_stages() -> None:
    """Every knob of a stage arrives under the stage's own name for it."""
    knobs = {
        "threads": 5,
        "maxTurns": 6,
        "queueTurns": 7,
        "queueSeconds": 8.0,
        "kvMemory": "9Mi",
        "blockTokens": 32,
        "chunkTokens": 64,
    }
    talker = plan(deploy(talker=knobs, speech={"firstCodes": 12}))[1].stages[0]
    assert talker == StageSettings(
        stage=Stage.TALKER,
        checkpoint="/checkpoint",
        dtype="bfloat16",
        threads=5,
        max_turns=6,
        queue_turns=7,
        queue_s=8.0,
        kv_bytes=9 * 2**20,
        block_tokens=32,
        chunk_tokens=64,
        window=deploy(speech={"firstCodes": 12}).spec.speech.window(),
    )
    assert talker.window.first_codes == 12


def test_code2wav_stays_in_full_precision() -> None:
    """The model's dtype is for thinker and talker."""
    assert [server.stages[0].dtype for server in plan(deploy())] == ["bfloat16", "bfloat16", "float32"]


def test_arguments_name_the_place_and_let_nobody_load_models() -> None:
    """A model is code, so the repository as it is at the start is all that a server ever runs."""
    (thinker, *_) = plan(deploy(thinker=ONE_GPU | {"maxTurns": 4, "queueTurns": 6}))
    arguments = build_arguments(thinker, PLACE)
    assert {
        "--model-control-mode=none",
        "--model-repository=/models",
        "--backend-directory=/backends",
        "--http-port=8100",
        "--grpc-port=8101",
        "--metrics-port=8102",
        "--allow-gpu-metrics=true",
        "--grpc-infer-allocation-pool-size=10",
    } <= set(arguments)


def test_a_server_without_gpu_does_not_look_for_one() -> None:
    """Triton's own GPU metrics need the driver."""
    (server,) = plan(deploy("Colocated"))
    assert "--allow-gpu-metrics=false" in build_arguments(server, PLACE)


def test_environment_names_settings_and_threads() -> None:
    """The stages read the folder; OpenMP must be told before torch is loaded."""
    environment = build_environment(plan(deploy(), cores=12)[0], PLACE)
    assert environment[SETTINGS_DIR_VARIABLE] == "/etc/tercet"
    assert environment["OMP_NUM_THREADS"] == "4"


def test_settings_files_are_what_the_stages_read() -> None:
    """One file a stage, named after it."""
    (server,) = plan(deploy("Colocated"))
    files = build_settings_files(server)
    assert list(files) == ["thinker.json", "talker.json", "code2wav.json"]
    assert StageSettings.model_validate_json(files["talker.json"]) == server.stages[1]
