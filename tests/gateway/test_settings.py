"""The gateway's settings file."""

import json
from pathlib import Path
from typing import Any

import pytest
from tercet_gateway.settings import SettingsError, parse_settings, read_settings
from tercet_operator.resources.gateway import Serving, build_gateway_settings
from tercet_wire.names import GATEWAY_METRICS_PORT, GATEWAY_PORT, Stage
from tercet_wire.spec import OmniDeployment

DEPLOYMENT: dict[str, Any] = {"model": "m", "endpoints": {"thinker": ["a:1", "b:1"], "talker": ["c:1"]}}


def test_smallest_file_serves() -> None:
    """Everything but the deployments has a default."""
    settings = parse_settings(json.dumps({"deployments": [DEPLOYMENT]}).encode())
    assert (settings.port, settings.metrics_port) == (GATEWAY_PORT, GATEWAY_METRICS_PORT)
    endpoints = settings.deployments[0].endpoints
    assert [endpoints.of(stage) for stage in Stage] == [("a:1", "b:1"), ("c:1",), ()]
    assert settings.media.allowed_hosts == ()


def test_cluster_stands_in_place_of_deployments() -> None:
    """Without namespaces all are watched."""
    settings = parse_settings(b'{"cluster": {}}')
    assert settings.cluster is not None
    assert (settings.cluster.namespaces, settings.deployments) == ((), ())


def test_what_the_operator_builds_can_be_read() -> None:
    """A gateway that watches two namespaces."""
    document = build_gateway_settings({}, host="0.0.0.0", namespaces=["a", "b"])
    settings = parse_settings(json.dumps(document).encode())
    assert settings.cluster is not None
    assert settings.cluster.namespaces == ("a", "b")


def test_a_turn_may_wait_for_its_place_as_long_as_the_stages_let_it() -> None:
    """The longest of the three; what is longer stays as it is."""
    spec = {"model": {"source": "demo://tiny"}, "stages": {"code2wav": {"queueSeconds": 200}}}
    deployment = OmniDeployment.model_validate({"metadata": {"name": "m"}, "spec": spec})
    serving = Serving(deployment=deployment, endpoints={stage: ["a:1"] for stage in Stage})
    settings = parse_settings(json.dumps(build_gateway_settings({"m": serving}, host="::1")).encode())
    queue_s = settings.deployments[0].queue_s
    assert queue_s == 200
    timeouts = settings.timeouts.outlasting(queue_s)
    assert min(timeouts.first_message_s, timeouts.idle_s) > 200
    assert timeouts.total_s == settings.timeouts.total_s
    assert settings.timeouts.outlasting(1) == settings.timeouts.outlasting(None) == settings.timeouts


FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all faults at once": (
        {"port": 70000, "limits": {"turns": 0, "turn": 1}, "deployments": [DEPLOYMENT]},
        ["port", "limits.turns", "limits.turn"],
    ),
    "nothing to serve": ({"deployments": []}, ["deployments"]),
    "nothing said": ({}, ["deployments"]),
    "a list and a cluster": ({"deployments": [DEPLOYMENT], "cluster": {}}, ["deployments", "cluster"]),
    "a namespace twice": ({"cluster": {"namespaces": ["a", "a"]}}, ["cluster.namespaces", "'a'"]),
    "a voice that is not there": (
        {"deployments": [{**DEPLOYMENT, "voice": "Bob"}]},
        ["deployments.0", "'Bob'"],
    ),
    "media hosts that are none": (
        {"deployments": [DEPLOYMENT], "media": {"allowed_hosts": ["cdn.example.com", "ftp://files"]}},
        ["media.allowed_hosts", "'ftp://files'"],
    ),
    "a media host with a path": (
        {"deployments": [DEPLOYMENT], "media": {"allowed_hosts": ["cdn.example.com/pictures"]}},
        ["media.allowed_hosts", "'cdn.example.com/pictures'"],
    ),
    "one model twice": ({"deployments": [DEPLOYMENT, DEPLOYMENT]}, ["same model"]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults_are_named_together(case: str) -> None:
    """Whoever wrote the file sees every fault in one go."""
    content, named = FAULTS[case]
    with pytest.raises(SettingsError) as refused:
        parse_settings(json.dumps(content).encode())
    assert all(name in str(refused.value) for name in named), str(refused.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The message holds the path."""
    with pytest.raises(SettingsError, match=r"gone\.json"):
        read_settings(tmp_path / "gone.json")
