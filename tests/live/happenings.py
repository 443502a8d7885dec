"""What is done to a deployment while listeners listen: what people change and what breaks by itself.

Each returns when it is over; those that change something, when the deployment has settled again.
"""

import asyncio
import json
import os
import random
import re
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import psutil
from openai import AsyncOpenAI
from tercet_wire.names import GATEWAY_METRICS_PORT

from tests.cluster.waiting import wait_for
from tests.e2e.replies import ENDLESS, hear
from tests.live.conftest import LONG_WINDED, Release, build_demo
from tests.live.traffic import SPOKEN_TURN

Happening = Callable[[Release], Awaitable[None]]
NAME: Final = "demo"
OPERATOR_KILLS: Final = int(os.environ.get("TERCET_OPERATOR_KILLS", "20"))
LONG_TOKENS: Final = 400
"""More than a minute of speech."""


def build(**changes: Any) -> dict[str, Any]:
    """Two servers, so that one can go; `image` and `kv_memory` make generations that sound the same."""
    omni = build_demo(NAME, replicas=2, model=LONG_WINDED)
    if image := changes.get("image"):
        omni["spec"]["podTemplate"] = {"spec": {"containers": [{"name": "triton", "image": image}]}}
    if kv_memory := changes.get("kv_memory"):
        omni["spec"]["stages"]["thinker"]["kvMemory"] = kv_memory
    return omni


async def roll(release: Release, **changes: Any) -> None:
    await asyncio.to_thread(release.apply, build(**changes))
    await asyncio.to_thread(release.wait_settled, NAME)


async def change_settings(release: Release) -> None:
    await roll(release, kv_memory="96Mi")


async def change_image(release: Release) -> None:
    """The same image by another tag, which `make e2e` gives it: a new generation as any."""
    await roll(release, image="tercet/engine-cpu:next")


async def revert(release: Release) -> None:
    await roll(release)


async def revert_midway(release: Release) -> None:
    """The first new server is just there."""
    before = await asyncio.to_thread(_list_pods, release)
    await asyncio.to_thread(release.apply, build(kv_memory="80Mi"))
    await asyncio.to_thread(
        wait_for, lambda: _list_pods(release).keys() - before.keys(), "a new pod", within_s=60, poll_s=0.5
    )
    await revert(release)


async def edit_three_times(release: Release) -> None:
    for kv_memory in ("100Mi", "104Mi", "108Mi"):
        await asyncio.to_thread(release.apply, build(kv_memory=kv_memory))
        await asyncio.sleep(1.5)
    await asyncio.to_thread(release.wait_settled, NAME)


async def edit_wrongly(release: Release) -> None:
    """As `podTemplate` is passed on unread, the API server refuses the pods; what serves goes on."""
    for wrong in ({"priorityClassName": "Not A Name"}, {"noSuchField": 1}):
        omni = build()
        omni["spec"]["podTemplate"] = {"spec": wrong}
        await asyncio.to_thread(release.apply, omni)
        await asyncio.to_thread(wait_for, lambda: _is_refused(release), "a refusal", within_s=60, poll_s=0.5)
        await revert(release)


def _is_refused(release: Release) -> bool:
    conditions = release.read(NAME)["status"]["conditions"]
    return any(each["reason"] == "Refused" for each in conditions)


async def hang_up(release: Release) -> None:
    """One before the first word, one in the middle of the speech."""
    async with AsyncOpenAI(base_url=f"{release.url}/v1", api_key="unused", max_retries=0) as client:
        turn = asyncio.create_task(hear(client, SPOKEN_TURN))
        await asyncio.sleep(0.02)
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        await hear(client, SPOKEN_TURN, until=lambda reply: bool(reply.pieces))


async def fall_asleep(release: Release) -> None:
    """One who asks for a long reply and takes none of it: he is cut off, and nobody else hears that."""
    before = await asyncio.to_thread(_count_slow, release)
    body = json.dumps({**SPOKEN_TURN, **ENDLESS, "max_tokens": LONG_TOKENS, "stream": True}).encode()
    with socket.socket() as sleeper:
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sleeper.settimeout(30)
        address = urlsplit(release.url)
        await asyncio.to_thread(sleeper.connect, (address.hostname, address.port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: demo\r\nContent-Length: {len(body)}\r\n\r\n"
        await asyncio.to_thread(sleeper.sendall, head.encode() + body)
        await asyncio.to_thread(
            wait_for,
            lambda: _count_slow(release) > before,
            "the sleeper is cut off",
            within_s=180,
            poll_s=1.0,
        )


def _count_slow(release: Release) -> float:
    """Over all gateways, as they tell Prometheus."""
    selector = "--selector=app.kubernetes.io/component=gateway"
    pods = json.loads(release.system.run("get", "pods", selector, "--output=json"))["items"]
    shown = [
        httpx.get(f"http://{pod['status']['podIP']}:{GATEWAY_METRICS_PORT}/metrics", trust_env=False).text
        for pod in pods
    ]
    counted = re.findall(
        r"^tercet_gateway_slow_client_aborts_total{.*} (\S+)$", "\n".join(shown), re.MULTILINE
    )
    return sum(map(float, counted))


async def delete_pod(release: Release) -> None:
    pod = random.choice(sorted(_list_pods(release)))
    await asyncio.to_thread(release.kubectl.run, "delete", "pod", pod, "--wait=true", "--timeout=110s")
    await asyncio.to_thread(release.wait_settled, NAME)


async def kill_triton(release: Release) -> None:
    """As the kernel does when memory runs out."""
    before = await asyncio.to_thread(_list_pods, release)
    pod = random.choice(sorted(before))
    kill = "for p in /proc/[0-9]*; do grep -q '^Name:.tritonserver' $p/status && kill -9 ${p#/proc/}; done"
    # The shell may go with the container before it can say how it went.
    await asyncio.to_thread(release.kubectl.ask, "exec", pod, "--", "sh", "-c", kill)
    await asyncio.to_thread(
        wait_for,
        lambda: _list_pods(release).get(pod, 0) > before[pod],
        "the restart",
        within_s=60,
        poll_s=0.5,
    )
    await asyncio.to_thread(release.wait_settled, NAME)


async def drain_node(release: Release) -> None:
    """There is one node, so the budget holds the last server back; then the node comes back."""
    (node,) = release.kubectl.run("get", "nodes", "--output=name").split()
    before = await asyncio.to_thread(_list_pods, release)
    selector = f"--pod-selector=tercet.dev/deployment={NAME}"
    await asyncio.to_thread(
        release.kubectl.ask,
        "drain",
        node.removeprefix("node/"),
        selector,
        "--delete-emptydir-data",
        "--timeout=25s",
    )
    left = await asyncio.to_thread(_list_pods, release)
    assert len(before.keys() & left.keys()) == 1, "one was evicted, and one was not"
    await asyncio.to_thread(release.kubectl.run, "uncordon", node.removeprefix("node/"))
    await asyncio.to_thread(release.wait_settled, NAME)


async def kill_operator(release: Release) -> None:
    """By SIGKILL, again and again, while a change is on its way."""
    await asyncio.to_thread(release.apply, build(kv_memory="112Mi"))
    for _ in range(OPERATOR_KILLS):
        await asyncio.sleep(random.uniform(0.1, 1.5))
        await asyncio.to_thread(wait_for, _kill_operator, "the operator's process", within_s=60, poll_s=0.5)
        # A pod that crashes waits up to five minutes for its next start: a new pod does not.
        await asyncio.to_thread(
            release.system.run, "delete", "pod", "--selector=app.kubernetes.io/component=operator"
        )
    await asyncio.to_thread(release.wait_settled, NAME)


async def stop_api_server(_: Release) -> None:
    """For a minute it takes connections and answers nobody."""
    server = int((Path(os.environ["KUBE_RUN"]) / "apiserver.pid").read_text())
    os.kill(server, signal.SIGSTOP)
    try:
        await asyncio.sleep(60)
    finally:
        os.kill(server, signal.SIGCONT)


async def restart_gateways(release: Release) -> None:
    await asyncio.to_thread(release.system.run, "rollout", "restart", "deployment/tercet-gateway")
    await asyncio.to_thread(
        release.system.run, "rollout", "status", "deployment/tercet-gateway", "--timeout=110s"
    )


def _list_pods(release: Release) -> dict[str, int]:
    """Restarts of each pod of the deployment."""
    selector = f"--selector=tercet.dev/deployment={NAME}"
    pods = json.loads(release.kubectl.run("get", "pods", selector, "--output=json"))["items"]
    return {
        pod["metadata"]["name"]: sum(
            status["restartCount"] for status in pod["status"].get("containerStatuses", ())
        )
        for pod in pods
    }


def _kill_operator() -> bool:
    """The one in a pod on this machine, which sees files of its own."""
    ours = os.readlink("/proc/self/ns/mnt")
    for process in psutil.process_iter():
        try:
            is_operator = "tercet_operator" in process.cmdline()
            if is_operator and os.readlink(f"/proc/{process.pid}/ns/mnt") != ours:
                process.kill()
                return True
        except (psutil.Error, OSError):
            continue
    return False
