"""What the gateway reads of Kubernetes' objects."""

from typing import Any

import pytest
from pydantic import ValidationError
from tercet_gateway.cluster.objects import Readiness, Ref, parse_deployment, parse_slice
from tercet_gateway.stages.fleet import Endpoint
from tercet_wire.names import COLOCATED, LABEL_GENERATION, LABEL_STAGE, Stage

from tests.gateway.cluster_objects import NAMESPACE, NEW, build_deployment, build_slice, build_status

ADDRESS = "10.0.0.1"


def test_deployment_with_status() -> None:
    """Name, age, voice, serving generations and the Ready condition."""
    raw = build_deployment(voice="Ethan")
    raw["spec"]["stages"] = {"talker": {"queueSeconds": 40}, "code2wav": {"queueSeconds": 200}}
    raw["metadata"] |= {"creationTimestamp": "2026-01-02T03:04:05Z", "managedFields": [{"any": 1}]}
    raw["status"] = build_status(NEW, ready=False, reason="NoGpu", message="0 of 1.") | {"fromTheFuture": {}}
    deployment = parse_deployment(raw)
    assert deployment.ref == Ref(NAMESPACE, "assistant")
    assert (deployment.created, deployment.voice, deployment.queue_s) == (1767323045, "Ethan", 200)
    assert deployment.serving == {NEW}
    assert deployment.readiness == Readiness(is_true=False, reason="NoGpu", message="0 of 1.")


def test_deployment_that_nobody_has_looked_at() -> None:
    """No status, no optional field: the defaults of the resource."""
    raw = build_deployment()
    del raw["spec"]["speech"]
    deployment = parse_deployment(raw)
    assert (deployment.voice, deployment.serving, deployment.readiness) == ("Chelsie", frozenset(), None)


CONDITIONS: dict[str, tuple[dict[str, Any] | None, bool | None]] = {
    "ready": ({"ready": True, "serving": True, "terminating": False}, True),
    "nothing said": (None, True),
    "only ready said": ({"ready": True}, True),
    "starting": ({"ready": False, "serving": False, "terminating": False}, None),
    "draining": ({"ready": False, "serving": True, "terminating": True}, False),
    "gone while it drained": ({"ready": False, "serving": False, "terminating": True}, None),
}


@pytest.mark.parametrize("case", CONDITIONS)
def test_conditions_say_what_an_endpoint_may_do(case: str) -> None:
    """Ready for new turns, only for turns that have begun, or None: for nothing."""
    conditions, expected = CONDITIONS[case]
    raw = build_slice("talker", 8101, addresses=[ADDRESS])
    raw["endpoints"][0]["conditions"] = conditions
    assert [endpoint.is_ready for endpoint in parse_slice(raw).endpoints] == (
        [] if expected is None else [expected]
    )


def test_slice_of_a_stage() -> None:
    """The port is found by its name."""
    parsed = parse_slice(build_slice("talker", 8101, addresses=[ADDRESS]))
    assert parsed.deployment == Ref(NAMESPACE, "assistant")
    expected = Endpoint(
        address=f"{ADDRESS}:8101", stages=frozenset({Stage.TALKER}), generation=NEW, is_ready=True
    )
    assert parsed.endpoints == (expected,)


def test_colocated_server_hosts_all_stages() -> None:
    """One endpoint, three stages."""
    (endpoint,) = parse_slice(build_slice(COLOCATED, 8101)).endpoints
    assert endpoint.stages == frozenset(Stage)


def test_ipv6_addresses_are_bracketed() -> None:
    """Else gRPC reads the port as a part of the address."""
    (endpoint,) = parse_slice(build_slice("talker", 8101, addresses=["fd00::1"])).endpoints
    assert endpoint.address == "[fd00::1]:8101"


@pytest.mark.parametrize("label", [LABEL_STAGE, LABEL_GENERATION])
def test_slice_without_our_labels_has_no_endpoints(label: str) -> None:
    """Nobody knows what such servers host."""
    raw = build_slice("talker", 8101)
    del raw["metadata"]["labels"][label]
    assert parse_slice(raw).endpoints == ()


@pytest.mark.parametrize("field", ["endpoints", "ports"])
def test_slice_whose_service_selects_nothing(field: str) -> None:
    """Its lists are null."""
    raw = build_slice("talker", 8101) | {field: None}
    assert parse_slice(raw).endpoints == ()


def test_what_is_no_such_object_is_refused() -> None:
    """Whoever reads it leaves it out."""
    for parse in (parse_deployment, parse_slice):
        with pytest.raises(ValidationError):
            parse({"metadata": {}})
