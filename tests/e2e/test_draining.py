"""A server that is asked to leave: its pod's hook waits for the turns in it, by Triton's own metrics."""

import subprocess
import sys
from pathlib import Path
from typing import IO
from uuid import uuid4

import pytest
from tercet_host.drain import Turns, read_turns
from tercet_wire.messages import Sampling, Turn
from tercet_wire.names import Stage

from tests.e2e.idle import wait_until
from tests.e2e.processes import find_server
from tests.e2e.served import Served
from tests.e2e.triton_client import Triton
from tests.e2e.turns import HELLO

DRAIN_S = 60


@pytest.fixture
def metrics_port(colocated: Served) -> int:
    """Of the one Triton server."""
    words = find_server(colocated, Stage.THINKER).cmdline()
    return int(next(word for word in words if word.startswith("--metrics-port")).partition("=")[2])


def endless_turn() -> Turn:
    """It has its say without end, since no token that ends a reply may be chosen."""
    never = dict.fromkeys((256, 258), -100.0)
    return Turn(messages=HELLO, sampling=Sampling(max_tokens=20_000, logit_bias=never))


def start_hook(port: int, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tercet_host.drain", "--settle=0", f"--limit={DRAIN_S}"]
    return subprocess.Popen([*command, f"--port={port}"], stderr=stderr)


async def test_the_hook_waits_for_a_turn_and_no_longer(
    colocated: Served, triton: Triton, metrics_port: int, tmp_path: Path
) -> None:
    """It says what it waits for, and ends well once the turn has ended."""
    assert read_turns(metrics_port) == dict.fromkeys(Stage, 0)
    log = tmp_path / "stderr"
    with log.open("wb") as stderr:
        async with triton.stream(Stage.THINKER) as stream:
            await stream.ask(SESSION=uuid4().hex, TURN=endless_turn().model_dump_json())
            await stream.read()
            hook = start_hook(metrics_port, stderr)
            await wait_until(lambda: "waiting at most" in log.read_text())
            assert hook.poll() is None
            assert _busy(read_turns(metrics_port)) == {"thinker": 1}
    assert hook.wait(DRAIN_S) == 0
    waiting, *_, ended = log.read_text().splitlines()
    assert waiting == f"drain: waiting at most {DRAIN_S} s for 1 in the thinker"
    assert ended.startswith("drain: no turns are left after")
    assert _busy(read_turns(metrics_port)) == {}


def _busy(turns: Turns | None) -> Turns:
    assert turns is not None
    return {stage: count for stage, count in turns.items() if count}
