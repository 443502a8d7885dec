"""The server goes with a stage that dies or is stuck at its start, and stays when the stage says farewell."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tercet_host import watchdog
from tercet_host.watchdog import Watchdog

WAIT_S = 20

STUCK_S = 1

# A stage: it starts the watchdog, says so, loads as it is told, says so, and then ends as it is told.
STAGE = """
import sys
import time
from pathlib import Path
from tercet_host.watchdog import Watchdog
guard = Watchdog(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
print("started", flush=True)
def read_on_stuck():
    return sys.stdin.readline().strip()
if sys.argv[4] in ("stuck", "failing"):
    read_on_stuck()
if sys.argv[4] == "failing":
    sys.exit("a checkpoint is missing")
end = time.monotonic() + 3 * float(sys.argv[3])
while sys.argv[4] == "busy" and time.monotonic() < end:
    pass
guard.tell_loaded()
print("loaded", flush=True)
if read_on_stuck() == "farewell":
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


def start_stage(
    server: subprocess.Popen[bytes], region: Path, loading: str = "quick"
) -> subprocess.Popen[str]:
    stage = subprocess.Popen(
        [sys.executable, "-c", STAGE, str(server.pid), str(region), str(STUCK_S), loading],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert stage.stdout is not None
    stage.stdout.readline()
    return stage


def test_a_killed_stage_takes_its_server_along(server: subprocess.Popen[bytes], region: Path) -> None:
    """And the memory that only it would have removed."""
    with start_stage(server, region) as stage:
        assert stage.stdout is not None
        assert stage.stdout.readline() == "loaded\n"
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


def test_a_stage_that_is_stuck_at_its_start_ends_with_its_stacks_in_the_log(
    server: subprocess.Popen[bytes], region: Path
) -> None:
    with start_stage(server, region, "stuck") as stage:
        assert stage.wait(WAIT_S) == -signal.SIGABRT
        assert stage.stderr is not None
        log = stage.stderr.read()
    assert server.wait(WAIT_S) == -signal.SIGKILL
    assert "done nothing for 1 s" in log
    assert "in read_on_stuck" in log


def test_a_stage_that_hears_no_signal_goes_as_well(server: subprocess.Popen[bytes], region: Path) -> None:
    with start_stage(server, region, "stuck") as stage:
        stage.send_signal(signal.SIGSTOP)
        try:
            assert stage.wait(WAIT_S) == -signal.SIGKILL
        finally:
            stage.kill()
    assert server.wait(WAIT_S) == -signal.SIGKILL


def test_a_stage_that_cannot_be_loaded_leaves_its_server_to_say_so(
    server: subprocess.Popen[bytes], region: Path
) -> None:
    """Triton notices by itself, and its log names the fault."""
    with start_stage(server, region, "failing") as stage:
        assert stage.stdin is not None
        stage.stdin.close()
        assert stage.wait(WAIT_S) == 1
    with pytest.raises(subprocess.TimeoutExpired):
        server.wait(2 * STUCK_S)


@pytest.mark.parametrize("loading", ["quick", "busy"])
def test_a_stage_that_loads_long_or_waits_for_turns_is_left_alone(
    server: subprocess.Popen[bytes], region: Path, loading: str
) -> None:
    with start_stage(server, region, loading) as stage:
        with pytest.raises(subprocess.TimeoutExpired):
            stage.wait(5 * STUCK_S)
        stage.communicate("farewell\n", WAIT_S)
    assert stage.returncode == 0
    assert server.poll() is None


def test_only_triton_is_watched() -> None:
    """The parent of a stage in a test or a benchmark is somebody's shell."""
    assert Watchdog.start() is None
