"""A fake of what makes pods: Deployments get as many as they ask for, each ready after a moment.

Stands for controller manager, scheduler and kubelet on a `FakeObjects`; a pod that goes takes its time too.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.operator.cluster_objects import build_ready_pod
from tests.operator.fake_objects import FakeObjects, Manifest, refer

MOMENT_S = 0.05


@asynccontextmanager
async def run_controllers(objects: FakeObjects) -> AsyncIterator[None]:
    news = asyncio.Event()
    objects.listeners.append(news.set)
    task = asyncio.create_task(_keep_pods(objects, news))
    try:
        yield
    finally:
        objects.listeners.remove(news.set)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _keep_pods(objects: FakeObjects, news: asyncio.Event) -> None:
    while True:
        await news.wait()
        news.clear()
        await asyncio.sleep(MOMENT_S)
        for server in objects.list("Deployment"):
            _scale(objects, server)


def _scale(objects: FakeObjects, server: Manifest) -> None:
    namespace, name = server["metadata"]["namespace"], server["metadata"]["name"]
    selector = server["spec"]["selector"]["matchLabels"]
    pods = objects.list("Pod", namespace, selector)
    wanted = server["spec"]["replicas"]
    for pod in pods[wanted:]:
        objects.delete(refer(pod))
    for _ in range(wanted - len(pods)):
        pod = build_ready_pod(name=f"{name}-{uuid.uuid4().hex[:5]}")
        owner = {"kind": "ReplicaSet", "uid": server["metadata"]["uid"], "name": name}
        pod["metadata"] = {
            "name": pod["metadata"]["name"],
            "namespace": namespace,
            "labels": dict(server["spec"]["template"]["metadata"]["labels"]),
            "ownerReferences": [owner],
        }
        objects.create(pod)
