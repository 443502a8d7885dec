"""`python -m tercet_operator`: serve metrics, stand for election, and work while elected.

Settings come from the environment, see `settings`; the cluster from the pod's service account, or from the
kubeconfig of whoever runs it by hand.
"""

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from tercet_operator.cluster import Cluster
from tercet_operator.election import LEASE, Election
from tercet_operator.metrics import Metrics, serve_metrics
from tercet_operator.queue import WorkQueue
from tercet_operator.settings import OperatorSettings, SettingsError
from tercet_operator.store import Key, Store
from tercet_operator.work import Work

log = logging.getLogger("tercet_operator")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for noisy in ("kopf", "kopf.objects", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        settings = OperatorSettings.from_environment(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    with suppress(asyncio.CancelledError):
        asyncio.run(run(settings))


async def run(settings: OperatorSettings) -> None:
    """Until SIGTERM or SIGINT."""
    this = asyncio.current_task()
    assert this is not None  # noqa: S101  # a coroutine runs in a task
    _end_by_signals(this)
    store, queue = Store(), WorkQueue[Key]()
    metrics = Metrics(queue, store)
    async with serve_metrics(metrics, settings.metrics_port) as port, ApiClient(await _configure()) as client:
        log.info("metrics and liveness on port %d", port)
        cluster = Cluster(client)
        work = Work(settings=settings, cluster=cluster, store=store, queue=queue, metrics=metrics)
        election = Election(
            cluster=cluster,
            namespace=settings.lease_namespace,
            name=LEASE,
            identity=settings.identity,
        )

        async def lead() -> None:
            try:
                await work.run()
            finally:
                _end_by_signals(this)  # kopf has taken them, and does not give them back

        await election.lead_when_elected(lead)


def _end_by_signals(task: asyncio.Task[None]) -> None:
    for stop in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(stop, task.cancel)


async def _configure() -> Configuration:
    configuration = Configuration()
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    return configuration


if __name__ == "__main__":
    main()
