"""The models of a cluster: events in, names, readiness and routes out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tercet_gateway.background import beside
from tercet_gateway.cluster.catalog import ClusterCatalog
from tercet_gateway.cluster.objects import parse_deployment, parse_slice
from tercet_gateway.cluster.view import Gone, Put
from tercet_gateway.cluster.watching import Watch
from tercet_gateway.errors import RequestError, ServiceError
from tercet_gateway.metrics import Metrics
from tercet_gateway.stages.checking import Checks
from tercet_wire.names import COLOCATED, Stage
from tercet_wire.status import Routes

from tests.gateway.cluster_objects import NEW, OLD, build_deployment, build_slice, build_status
from tests.gateway.conftest import eventually
from tests.gateway.fake_source import Script
from tests.gateway.fake_triton import FakeTriton


@asynccontextmanager
async def open_catalog(
    *, is_qualified: bool, metrics: Metrics | None = None
) -> AsyncIterator[ClusterCatalog]:
    checks = Checks()
    catalog = ClusterCatalog(checks, 1.0, metrics or Metrics(), is_qualified=is_qualified)
    async with beside(checks.run()):
        yield catalog
        await catalog.close()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def catalog(metrics: Metrics) -> AsyncIterator[ClusterCatalog]:
    """Of one namespace."""
    async with open_catalog(is_qualified=False, metrics=metrics) as catalog:
        yield catalog


async def put_deployment(
    catalog: ClusterCatalog, status: dict[str, Any] | None = None, **fields: str
) -> None:
    raw = build_deployment(**fields)
    await catalog.receive(Put(parse_deployment(raw if status is None else raw | {"status": status})))


async def put_server(catalog: ClusterCatalog, triton: FakeTriton, generation: str = NEW) -> None:
    await catalog.receive(Put(parse_slice(build_server(triton, generation))))


def build_server(triton: FakeTriton, generation: str = NEW) -> dict[str, Any]:
    return build_slice(COLOCATED, int(triton.endpoint.rpartition(":")[2]), generation=generation)


# --- names --------------------------------------------------------------------------------------


async def test_model_of_the_only_namespace_is_named_bare(catalog: ClusterCatalog) -> None:
    """Its namespace may be said all the same."""
    await put_deployment(catalog, voice="Nova")
    (model,) = catalog.list_models()
    assert (model.id, model.voice, model.voices) == ("assistant", "Nova", ("Chelsie", "Ethan", "Nova"))
    assert catalog.find("team-a/assistant").model == catalog.find("assistant").model == model


async def test_models_of_many_namespaces_are_named_with_them() -> None:
    """A bare name does where there is only one of it, else the choices are told."""
    async with open_catalog(is_qualified=True) as catalog:
        await put_deployment(catalog)
        await put_deployment(catalog, namespace="team-b")
        await put_deployment(catalog, name="reader", namespace="team-b")
        ids = [model.id for model in catalog.list_models()]
        assert ids == ["team-a/assistant", "team-b/assistant", "team-b/reader"]
        assert catalog.find("reader").model.id == "team-b/reader"
        with pytest.raises(RequestError, match="'team-a/assistant' or 'team-b/assistant'") as refused:
            catalog.find("assistant")
        assert (refused.value.status, refused.value.code) == (404, "model_not_found")


async def test_gateway_is_ready_once_it_has_asked_its_servers(triton: FakeTriton) -> None:
    """Turns that come before would be sent at random; a server that comes later takes no readiness away."""
    checks = Checks()
    catalog = ClusterCatalog(checks, 1.0, Metrics(), is_qualified=False)
    await put_deployment(catalog)
    await put_server(catalog, triton)
    assert await catalog.show_readiness() == {"ready": False}
    async with beside(checks.run()), asyncio.timeout(10):
        while await catalog.show_readiness() != {"ready": True}:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    await put_server(catalog, triton, OLD)
    assert await catalog.show_readiness() == {"ready": True}
    await catalog.close()


async def test_unknown_model_is_404(catalog: ClusterCatalog) -> None:
    """Never there, or deleted."""
    await put_deployment(catalog)
    await catalog.receive(Gone(parse_deployment(build_deployment())))
    for name in ("assistant", "nobody"):
        with pytest.raises(RequestError) as refused:
            catalog.find(name)
        assert refused.value.status == 404


async def test_gateway_that_has_not_seen_the_cluster_yet_is_not_ready(catalog: ClusterCatalog) -> None:
    """It cannot say that a model does not exist; what it knows already is served."""
    catalog.follow([Watch("test", Script(), catalog.receive)])
    assert await catalog.show_readiness() == {"ready": False}
    with pytest.raises(ServiceError) as refused:
        catalog.find("assistant")
    assert (refused.value.status, refused.value.headers()) == (503, {"retry-after": "1"})
    await put_deployment(catalog)
    assert catalog.find("assistant").model.id == "assistant"


# --- readiness ----------------------------------------------------------------------------------

CLOSED: dict[str, tuple[dict[str, Any] | None, str]] = {
    "nobody has looked at it": (None, "It has no status yet."),
    "the operator says why": (
        build_status(ready=False, reason="NoGpu", message="0 of 1 talkers: no node has a free GPU."),
        "NoGpu: 0 of 1 talkers: no node has a free GPU.",
    ),
    "the operator is ahead of the endpoints": (build_status(NEW), "Its servers are not known here yet."),
}


@pytest.mark.parametrize("case", CLOSED)
async def test_deployment_without_servers_says_why(catalog: ClusterCatalog, case: str) -> None:
    """503, when to come again, and the words of its Ready condition."""
    status, why = CLOSED[case]
    await put_deployment(catalog, status)
    with pytest.raises(ServiceError) as refused:
        catalog.find("assistant").check_open()
    error = refused.value
    assert (error.status, error.code, error.headers()) == (503, "model_not_ready", {"retry-after": "5"})
    assert error.message == f"The model 'assistant' is not ready. {why}"


async def test_deployment_is_open_while_a_serving_generation_is_complete(
    catalog: ClusterCatalog, triton: FakeTriton
) -> None:
    """Whether its Ready condition is true is not asked: old servers may serve on."""
    await put_deployment(catalog, build_status(OLD, ready=False))
    await put_server(catalog, triton, generation=NEW)
    assert catalog.find("assistant").closed_because is not None
    await put_server(catalog, triton, generation=OLD)
    catalog.find("assistant").check_open()


async def test_deleted_deployment_keeps_its_servers_until_they_are_gone(
    catalog: ClusterCatalog, triton: FakeTriton
) -> None:
    """A turn that has begun finds its later stages."""
    await put_deployment(catalog)
    await put_server(catalog, triton)
    pinned = catalog.find("assistant").pool.pin()
    async with pinned.stream(Stage.THINKER, "turn"):
        await catalog.receive(Gone(parse_deployment(build_deployment())))
        async with pinned.stream(Stage.TALKER, "turn"):
            await catalog.receive(Gone(parse_slice(build_server(triton))))
            assert not pinned.has_willing(Stage.CODE2WAV)


# --- what the operator and Prometheus see ---------------------------------------------------------


async def test_routes_are_what_can_be_reached(catalog: ClusterCatalog, triton: FakeTriton) -> None:
    """By deployment, generation and stage; nothing of what has gone."""
    await put_deployment(catalog)
    await put_server(catalog, triton)
    expected = {"team-a/assistant": {NEW: dict.fromkeys(Stage, 1)}}

    def routes() -> dict[str, dict[str, dict[Stage, int]]]:
        return Routes.model_validate_json(catalog.render_routes()).deployments

    await eventually(lambda: routes() == expected)
    await catalog.receive(Gone(parse_slice(build_server(triton))))
    assert routes() == {}


async def test_gauges_count_deployments(
    catalog: ClusterCatalog, metrics: Metrics, triton: FakeTriton
) -> None:
    """Known, and able to begin turns."""

    def gauges() -> list[float | None]:
        names = ("deployments", "routable_deployments")
        return [metrics.registry.get_sample_value(f"tercet_gateway_{name}") for name in names]

    await put_server(catalog, triton)
    assert gauges() == [0, 0]
    await put_deployment(catalog)
    await put_deployment(catalog, name="reader")
    assert gauges() == [2, 1]
    await catalog.receive(Gone(parse_deployment(build_deployment())))
    assert gauges() == [1, 0]


async def test_counters_stand_at_zero_from_when_turns_can_begin(
    catalog: ClusterCatalog, metrics: Metrics, triton: FakeTriton
) -> None:
    """A rise from nothing is no rise to Prometheus, and the first client may be one that leaves."""
    await put_deployment(catalog)
    assert count_series(metrics, "assistant") == 0
    await put_server(catalog, triton)
    value = metrics.registry.get_sample_value
    assert value("tercet_gateway_slow_client_aborts_total", {"model": "assistant"}) == 0
    for phase in ("pre_first_byte", "streaming"):
        counted = {"model": "assistant", "phase": phase}
        assert value("tercet_gateway_cancelled_requests_total", counted) == 0
    lost = {"model": "assistant", "stage": "talker", "outcome": "resumed"}
    assert value("tercet_gateway_replays_total", lost) == 0


async def test_of_a_deleted_deployment_no_series_stays(
    catalog: ClusterCatalog, metrics: Metrics, triton: FakeTriton
) -> None:
    """Once its servers are gone too; deployments that come and go fill no memory."""
    await put_deployment(catalog)
    await put_server(catalog, triton)
    metrics.time_to_first_text.labels("assistant").observe(0.1)
    metrics.time_to_first_text.labels("reader").observe(0.1)
    await catalog.receive(Gone(parse_deployment(build_deployment())))
    assert count_series(metrics, "assistant") > 0
    await catalog.receive(Gone(parse_slice(build_server(triton))))
    assert count_series(metrics, "assistant") == 0
    assert count_series(metrics, "reader") > 0


def count_series(metrics: Metrics, model: str) -> int:
    samples = (sample for metric in metrics.registry.collect() for sample in metric.samples)
    return sum(sample.labels.get("model") == model for sample in samples)
