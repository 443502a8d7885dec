"""What Kubernetes and Prometheus ask, and the list of models."""

import re

import httpx
import pytest
from tercet_wire.names import Stage

from tests.gateway.conftest import MODEL, Gateway, build_settings, serve_gateway
from tests.gateway.fake_triton import FakeTriton


async def test_models_are_listed(gateway: Gateway) -> None:
    """The SDK reads the list and one model."""
    models = await gateway.sdk.models.list()
    assert [model.id for model in models.data] == [MODEL]
    assert (await gateway.sdk.models.retrieve(MODEL)).object == "model"


async def test_healthy_says_nothing_of_stages(gateway: Gateway, triton: FakeTriton) -> None:
    """A gateway without stages lives; it is not ready."""
    triton.unready = {stage.value for stage in Stage}
    assert (await gateway.http.get("/healthz")).status_code == 200


async def test_ready_when_every_stage_serves(gateway: Gateway) -> None:
    """One replica of each stage is enough."""
    response = await gateway.http.get("/readyz")
    assert response.status_code == 200
    stages = {"thinker": True, "talker": True, "code2wav": True}
    assert response.json() == {"ready": True, "deployments": {MODEL: stages}}


async def test_not_ready_says_which_stage(gateway: Gateway, triton: FakeTriton) -> None:
    """A stage whose model is not loaded is named."""
    triton.unready = {Stage.TALKER.value}
    response = await gateway.http.get("/readyz")
    assert response.status_code == 503
    assert response.json()["deployments"][MODEL] == {"thinker": True, "talker": False, "code2wav": True}


async def test_not_ready_without_a_server() -> None:
    """Nothing listens: no stage is ready, and the question is still answered."""
    async with serve_gateway(build_settings("127.0.0.1:1")) as gateway:
        response = await gateway.http.get("/readyz")
        assert response.status_code == 503
        assert not any(response.json()["deployments"][MODEL].values())


async def test_headers_of_a_reply(gateway: Gateway) -> None:
    """An id of ours or the caller's own, and the time it took."""
    response = await gateway.http.get("/v1/models")
    assert re.fullmatch(r"req_[0-9a-f]{32}", response.headers["x-request-id"])
    assert response.headers["openai-processing-ms"].isdigit()
    response = await gateway.http.get("/v1/models", headers={"x-request-id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
    response = await gateway.http.get("/v1/models", headers={"x-request-id": "no spaces"})
    assert response.headers["x-request-id"].startswith("req_")


async def test_headers_of_a_stream(gateway: Gateway) -> None:
    """No proxy on the way may hold it back."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    response = await gateway.http.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert "x-request-id" in response.headers


async def test_metrics_of_a_spoken_turn_have_their_own_port(gateway: Gateway) -> None:
    """Everything that a listener feels is counted once for one turn."""
    audio = {"voice": "Ethan", "format": "pcm16"}
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hi"}],
        "modalities": ["text", "audio"],
        "audio": audio,
        "stream": True,
    }
    await gateway.http.post("/v1/chat/completions", json=body)
    for name in ("time_to_first_audio", "time_to_first_text", "audio_underrun", "overhead"):
        assert gateway.count(f"{name}_seconds_count", model=MODEL) == 1, name
    assert gateway.count("audio_real_time_factor_end_to_end_count", model=MODEL) == 1
    assert gateway.count("audio_output_seconds_total", model=MODEL) == pytest.approx(6 / 50)
    assert gateway.count("tokens_total", model=MODEL, kind="code") == 6
    for stage in Stage:
        for phase in ("connect", "first", "inside", "total"):
            labels = {"model": MODEL, "stage": stage.value, "phase": phase}
            assert gateway.count("stage_latency_seconds_count", **labels) == 1, labels
    with gateway.metrics.serve("127.0.0.1", 0) as port:
        async with httpx.AsyncClient(trust_env=False) as http:
            page = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert "tercet_gateway_time_to_first_audio_seconds_bucket" in page.text
