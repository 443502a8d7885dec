"""The product as its users start it: `tercet up` in a process of its own, reached over HTTP.

Called by the benchmarks. Also tells what the gateway process cost meanwhile.
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families
from tercet_cli.ports import pick_ports
from tercet_cli.servers import Server

BENCH_YAML: Final = Path(__file__).parent / "bench.yaml"
MIDPOINT_YAML: Final = Path(__file__).parent / "midpoint.yaml"
MODEL: Final = "bench"
READY_S: Final = 300.0
STOP_S: Final = 60.0


Sums = Mapping[tuple[str, str, str], float]
"""By name, stage and phase, each "" where there is none, summed over all other labels."""


class ProductError(Exception):
    """`tercet up` did not come up, with what it printed; or turns failed, with the first reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    cpu_s: float
    rss_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    server: Server
    metrics_url: str
    pid: int

    def read_sums(self) -> Sums:
        """The gateway's metrics as they stand."""
        text = httpx.get(self.metrics_url, timeout=5.0, trust_env=False).raise_for_status().text
        sums: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sample.labels
                sums[sample.name, labels.get("stage", ""), labels.get("phase", "")] += sample.value
        return sums

    def gateway_cost(self) -> Cost:
        """Since its start."""
        processes = psutil.Process(self.pid).children(recursive=True)
        # The launcher may keep a small process between itself and the gateway; the gateway is the leaf.
        gateway = next(
            process
            for process in processes
            if "tercet_gateway" in process.cmdline() and not process.children()
        )
        times = gateway.cpu_times()
        return Cost(cpu_s=times.user + times.system, rss_bytes=gateway.memory_info().rss)


@contextmanager
def serve(cache: Path, deployment: Path = BENCH_YAML) -> Iterator[Product]:
    """Start it, wait until it is ready, and stop it at the end."""
    port, metrics_port = pick_ports(2)
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as folder:
        log = Path(folder) / "up.log"
        command = [
            *(str(Path(sys.executable).with_name("tercet")), "up", str(deployment)),
            *("--port", str(port), "--metrics-port", str(metrics_port)),
            *("--model-cache", str(cache), "--log-dir", str(Path(folder) / "logs")),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            server = Server(url=f"http://127.0.0.1:{port}")
            _wait_until_ready(server, process, log)
            yield Product(
                server=server, metrics_url=f"http://127.0.0.1:{metrics_port}/metrics", pid=process.pid
            )
        finally:
            _stop(process)


def _wait_until_ready(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up_s = time.monotonic() + READY_S
    while time.monotonic() < give_up_s and process.poll() is None:
        try:
            if httpx.get(f"{server.url}/readyz", timeout=5.0, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise ProductError(f"`tercet up` is not ready:\n{log.read_text()[-4000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
