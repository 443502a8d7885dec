"""The server goes with a stage that dies, and stays when the stage says farewell."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tercet_host import watchdog
from tercet_host.watchdog import Watchdog

WAIT_S = 20

# A stage: it starts the watchdog, says so, and then ends in the way it is told.
STAGE = """
import sys
from pathlib import Path
from tercet_host.watchdog import Watchdog
guard = Watchdog(int(sys.argv[1]), Path(sys.argv[2]))
print("started", flush=True)
if sys.stdin.readline() == "farewell\\n":
    guard.dismiss()
"""


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


@pytest.fixture
def region(tmp_path: Path) -> Path:
    file = tmp_path / f"{watchdog.REGION_PREFIX}_1"
    file.write_bytes(b"shared")
    return file


def start_stage(server: subprocess.Popen[bytes], region: Path) -> subprocess.Popen[str]:
    stage = subprocess.Popen(
        [sys.executable, "-c", STAGE, str(server.pid), str(region)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert stage.stdout is not None
    stage.stdout.readline()
    return stage


def test_a_killed_stage_takes_its_server_along(server: subprocess.Popen[bytes], region: Path) -> None:
    """And the memory that only it would have removed."""
    with start_stage(server, region) as stage:
        stage.kill()
    assert server.wait(WAIT_S) == -signal.SIGKILL
    assert not region.exists()


def test_a_stage_that_says_farewell_leaves_its_server(server: subprocess.Popen[bytes], region: Path) -> None:
    """Triton unloads it, and looks after the memory itself."""
    with start_stage(server, region) as stage:
        stage.communicate("farewell\n", WAIT_S)
    assert stage.returncode == 0
    assert server.poll() is None
    assert region.exists()


def test_only_triton_is_watched() -> None:
    """The parent of a stage in a test or a benchmark is somebody's shell."""
    assert Watchdog.start() is None
