"""The operator as a process of its own, as in its pod: settings by the environment, a kubeconfig, a log.

Tests kill it, start it again and ask its metrics; it ends with the `with` block.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.cluster.waiting import wait_for

START_S: Final = 30.0
STOP_S: Final = 30.0
ANSWER_S: Final = 15.0
_PORT: Final = re.compile(r"metrics and liveness on port (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def read_log(self) -> str:
        return self.log.read_text()

    def find_port(self) -> str | None:
        said = _PORT.search(self.read_log())
        return said and said[1]

    def url(self) -> str:
        port = wait_for(self.find_port, f"the operator's start:\n{self.read_log()}", within_s=START_S)
        return f"http://127.0.0.1:{port}"

    def metric(self, name: str) -> float:
        """The sum over all labels; 0 where there is none yet."""
        text = httpx.get(f"{self.url()}/metrics", timeout=ANSWER_S).text
        lines = re.findall(rf"^tercet_operator_{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, lines))

    def is_leading(self) -> bool:
        return not self.has_ended and self.metric("leader") == 1

    def kill(self) -> None:
        """As `kill -9`."""
        self.process.kill()
        self.process.wait(STOP_S)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def run_operator(kubeconfig: Path, log: Path, **settings: str) -> Iterator[Operator]:
    """`settings` by their names in `OperatorSettings`. The log starts anew."""
    variables = {f"TERCET_{name.upper()}": value for name, value in settings.items()}
    environment = os.environ | {"KUBECONFIG": str(kubeconfig), "TERCET_METRICS_PORT": "0"} | variables
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tercet_operator"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Operator(process=process, log=log)
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(STOP_S)
        finally:
            process.kill()
