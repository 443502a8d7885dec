"""A deployment served by `tercet up` in a process of its own, as a user would start it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
STOP_S = 180
_LONG_WINDED: dict[str, Any] = {"model": {"source": "demo://tiny", "dtype": "float32"}, "speech": {}}


@dataclass(frozen=True, kw_only=True)
class Served:
    """`url` ends in /v1; `triton` holds each stage's gRPC addresses."""

    url: str
    metrics_url: str
    model: str
    triton: dict[str, list[str]]
    run_folder: Path
    process: subprocess.Popen[str]


@contextmanager
def serve(file: Path, run_folder: Path) -> Iterator[Served]:
    """Until the block is left; then Ctrl-C, which must end it well unless the test has killed it."""
    command = [sys.executable, "-m", "tercet_cli.main", "up", str(file), "--log-dir", str(run_folder)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--metrics-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        yield _read_served(process, process.stdout, run_folder)
    finally:
        was_killed = process.poll() is not None
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=STOP_S)
    assert was_killed or process.returncode == 0, rest


def write_variant(target: Path, **spec: Any) -> Path:
    """examples/demo.yaml with some fields of its spec changed, and a model whose every reply is long; JSON is
    YAML too.
    """
    document = yaml.safe_load((EXAMPLES / "demo.yaml").read_text())
    document["spec"] |= _LONG_WINDED | spec
    target.write_text(json.dumps(document))
    return target


def _read_served(process: subprocess.Popen[str], output: IO[str], run_folder: Path) -> Served:
    lines = []
    for line in output:
        lines.append(line)
        if line.startswith("Stop:"):
            break
    text = "".join(lines)
    ready = re.search(r"^Ready: (\S+)\nMetrics: (\S+)", text, re.MULTILINE)
    assert ready, text
    (deployment,) = json.loads((run_folder / "gateway.json").read_text())["deployments"]
    return Served(
        url=ready[1],
        metrics_url=ready[2],
        model=deployment["model"],
        triton=deployment["endpoints"],
        run_folder=run_folder,
        process=process,
    )
