"""The gateway against a real API server: it finds deployments and servers, and follows their changes."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tercet_gateway.cluster.kube import DEPLOYMENTS, KubeSource, open_api
from tercet_gateway.cluster.objects import Ref
from tercet_gateway.cluster.watching import VersionExpired
from tercet_gateway.settings import ClusterSettings
from tercet_wire.names import PLURAL, ROUTES_PATH, Stage
from tercet_wire.status import Routes

from tests.cluster.gateway_cluster import (
    BODY,
    SPOKEN,
    delete,
    open_line,
    put_deployment,
    put_server,
    put_status,
    watch_settings,
)
from tests.cluster.kubectl import Kubectl
from tests.gateway.cluster_objects import DRAINING, NEW, OLD, build_status
from tests.gateway.conftest import Gateway, serve_gateway
from tests.gateway.fake_triton import FakeTriton, Fault, serve_fake_triton

pytestmark = pytest.mark.usefixtures("crd")
CHAT = "/v1/chat/completions"


async def wait_until(is_true: Callable[[httpx.Response], bool], gateway: Gateway, path: str) -> None:
    """Ask until the answer is so."""
    async with asyncio.timeout(20):
        while not is_true(await gateway.http.get(path)):  # noqa: ASYNC110 - nothing tells of a change
            await asyncio.sleep(0.02)


async def wait_for_models(gateway: Gateway, *ids: str) -> None:
    def are_listed(answer: httpx.Response) -> bool:
        return [model["id"] for model in answer.json()["data"]] == list(ids)

    await wait_until(are_listed, gateway, "/v1/models")


async def wait_for_chat(gateway: Gateway, status: int, model: str = "assistant") -> httpx.Response:
    """Ask for turns until they are answered so."""
    body = BODY | {"model": model}
    async with asyncio.timeout(20):
        while (answer := await gateway.http.post(CHAT, json=body)).status_code != status:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
        return answer


async def wait_for_first_bytes(call: asyncio.Task[httpx.Response], triton: FakeTriton) -> None:
    """The turn is in its thinker."""
    await triton.wait_for(Stage.THINKER)
    assert not call.done()


def thinks(triton: FakeTriton) -> int:
    return sum(call.stage is Stage.THINKER for call in triton.calls)


async def test_deployment_from_creation_to_deletion(cluster: Path, kubectl: Kubectl) -> None:
    """404, then 503 with the reason, then turns, then 404."""
    async with (
        serve_fake_triton() as triton,
        serve_gateway(watch_settings(cluster, kubectl.namespace)) as gateway,
    ):
        await wait_until(lambda answer: answer.status_code == 200, gateway, "/readyz")
        assert (await gateway.http.post(CHAT, json=BODY)).status_code == 404
        await put_deployment(kubectl, voice="Ethan")
        answer = await wait_for_chat(gateway, 503)
        assert answer.headers["retry-after"] == "5"
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("server_error", "model_not_ready")
        assert error["message"].endswith("It has no status yet.")
        model = (await gateway.http.get("/v1/models/assistant")).json()
        assert model["created"] > 1_700_000_000
        await put_status(kubectl, build_status(NEW))
        await put_server(kubectl, triton)
        await wait_for_chat(gateway, 200)
        answer = await gateway.http.post(CHAT, json=SPOKEN)
        assert answer.json()["choices"][0]["message"]["audio"]["transcript"] == "Hello you"
        await delete(kubectl, PLURAL, "assistant")
        await wait_for_chat(gateway, 404)


async def test_rollout_under_a_running_turn(cluster: Path, kubectl: Kubectl) -> None:
    """It ends in the generation that it began in, while new turns go to the new one."""
    await put_deployment(kubectl)
    await put_status(kubectl, build_status(OLD))
    async with serve_fake_triton() as old, serve_fake_triton() as new:
        hold = asyncio.Event()
        old.faults = {Stage.THINKER: Fault(after=1, text="gone", when=hold)}
        await put_server(kubectl, old, OLD)
        async with serve_gateway(watch_settings(cluster, kubectl.namespace)) as gateway:
            await wait_until(lambda answer: answer.status_code == 200, gateway, "/readyz")
            begun = asyncio.create_task(gateway.http.post(CHAT, json=BODY))
            await wait_for_first_bytes(begun, old)
            await put_server(kubectl, new, NEW)
            await put_status(kubectl, build_status(NEW))
            await wait_for_chat(gateway, 200)
            await put_server(kubectl, old, OLD, conditions=DRAINING)
            assert (await gateway.http.post(CHAT, json=BODY)).status_code == 200
            await delete(kubectl, "endpointslice", f"assistant-omni-{OLD}")
            await put_deployment(kubectl, "marker")
            await put_server(kubectl, new, deployment="marker")
            await wait_for_chat(gateway, 200, "marker")  # so the gateway has heard of the deletion, too
            assert (thinks(old), begun.done()) == (1, False)
            hold.set()
            assert (await begun).json()["error"]["code"] == "upstream_unavailable"
            assert (thinks(old), thinks(new)) == (1, 3)


async def test_routes_tell_the_operator_what_is_reached(cluster: Path, kubectl: Kubectl) -> None:
    """On the metrics port, for ready endpoints only, with the gauges beside it."""
    await put_deployment(kubectl)
    async with serve_fake_triton() as triton:
        await put_server(kubectl, triton)
        async with (
            serve_gateway(watch_settings(cluster, kubectl.namespace)) as gateway,
            httpx.AsyncClient(trust_env=False) as http,
        ):
            with gateway.metrics.serve("127.0.0.1", 0) as port:
                expected = {f"{kubectl.namespace}/assistant": {NEW: dict.fromkeys(Stage, 1)}}

                async def wait_for_routes(routes: dict[str, dict[str, dict[Stage, int]]]) -> None:
                    async with asyncio.timeout(20):
                        while await read_routes(http, port) != routes:  # noqa: ASYNC110 - as above
                            await asyncio.sleep(0.02)

                await wait_for_routes(expected)
                assert (gateway.count("deployments"), gateway.count("routable_deployments")) == (1, 1)
                assert 0 <= gateway.count("watch_age_seconds", kind=PLURAL) < 20
                await put_server(kubectl, triton, conditions=DRAINING)
                await wait_for_routes({})
                assert gateway.count("routable_deployments") == 0


async def read_routes(http: httpx.AsyncClient, port: int) -> dict[str, dict[str, dict[Stage, int]]]:
    answer = await http.get(f"http://127.0.0.1:{port}{ROUTES_PATH}")
    assert answer.headers["content-type"] == "application/json"
    return Routes.model_validate_json(answer.content).deployments


async def test_gateway_of_all_namespaces_names_models_with_theirs(cluster: Path, kubectl: Kubectl) -> None:
    """And a bare name does where it is the only one; the path of a model holds a slash."""
    name = kubectl.namespace  # no other test has a model of this name
    await put_deployment(kubectl, name)
    async with serve_gateway(watch_settings(cluster)) as gateway:
        path = f"/v1/models/{name}/{name}"
        await wait_until(lambda answer: answer.status_code == 200, gateway, path)
        for path in (f"/v1/models/{name}/{name}", f"/v1/models/{name}"):
            assert (await gateway.http.get(path)).json()["id"] == f"{name}/{name}"
        assert (await gateway.http.get("/v1/models/nowhere/assistant")).status_code == 404


async def test_gateway_outlives_the_api_server(cluster: Path, kubectl: Kubectl, tmp_path: Path) -> None:
    """Away, turns go on with what is known; back, the gateway catches up."""
    await put_deployment(kubectl)
    async with serve_fake_triton() as triton, open_line(cluster, tmp_path) as (line, kubeconfig):
        await put_server(kubectl, triton)
        async with serve_gateway(watch_settings(kubeconfig, kubectl.namespace)) as gateway:
            await wait_for_chat(gateway, 200)
            line.cut()
            tried = line.connections
            await put_deployment(kubectl, "reader")
            await delete(kubectl, PLURAL, "assistant")
            async with asyncio.timeout(20):
                while line.connections < tried + 3:  # noqa: ASYNC110 - a count has no event to wait on
                    await asyncio.sleep(0.02)
            assert (await gateway.http.post(CHAT, json=BODY)).status_code == 200
            assert (await gateway.http.get("/readyz")).status_code == 200
            line.mend()
            await wait_for_models(gateway, "reader")


async def test_gateway_that_starts_without_the_api_server_waits(
    cluster: Path, kubectl: Kubectl, tmp_path: Path
) -> None:
    """It lives, is not ready, and does not say of any model that it does not exist."""
    await put_deployment(kubectl)
    async with open_line(cluster, tmp_path) as (line, kubeconfig):
        line.cut()
        async with serve_gateway(watch_settings(kubeconfig, kubectl.namespace)) as gateway:
            assert (await gateway.http.get("/healthz")).status_code == 200
            assert (await gateway.http.get("/readyz")).status_code == 503
            answer = await gateway.http.post(CHAT, json=BODY)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "starting")
            line.mend()
            await wait_for_models(gateway, "assistant")
            await wait_until(lambda answer: answer.status_code == 200, gateway, "/readyz")


async def test_lists_are_read_page_by_page(cluster: Path, kubectl: Kubectl) -> None:
    """Each object once, and a version to go on from."""
    for name in ("a", "b", "c"):
        await put_deployment(kubectl, name)
    async with open_api(ClusterSettings(kubeconfig=str(cluster))) as api:
        source = KubeSource(api, DEPLOYMENTS, kubectl.namespace, page=2)
        listed, version = await source.read_all()
        assert [found.ref for found in listed.objects] == [Ref(kubectl.namespace, n) for n in "abc"]
        await put_deployment(kubectl, "d")
        async with asyncio.timeout(20):
            news = await anext(source.follow(version))
        assert news.event is not None


async def test_expired_version_is_told_apart(cluster: Path, kubectl: Kubectl) -> None:
    """The API server does not know what came after its first version."""
    async with open_api(ClusterSettings(kubeconfig=str(cluster))) as api:
        source = KubeSource(api, DEPLOYMENTS, kubectl.namespace)
        with pytest.raises(VersionExpired):
            async with asyncio.timeout(20):
                await anext(source.follow("1"))
