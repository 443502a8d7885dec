"""Commands on a leash: started, watched, started again, and never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tercet_cli import leash
from tercet_cli.errors import CommandError
from tercet_cli.supervision import CRASHES, Command, keep_running, read_output, restart_delay_s, run_command

WAIT_S = 20

# Writes the process ids of itself and of a child into a pipe, then sleeps; `deaf` ignores SIGTERM.
FAMILY = """
import os, signal, subprocess, sys
if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
with open(sys.argv[1], "w") as pipe: pipe.write(f"{os.getpid()} {child.pid}")
child.wait()
"""


def command(folder: Path, *arguments: str, grace_s: float = 10.0) -> Command:
    return Command(
        name="family", arguments=arguments, environment=os.environ, log_path=folder / "log", grace_s=grace_s
    )


def family(folder: Path, *words: str, grace_s: float = 10.0) -> Command:
    os.mkfifo(folder / "pipe")
    return command(folder, sys.executable, "-S", "-c", FAMILY, str(folder / "pipe"), *words, grace_s=grace_s)


def read_family(folder: Path) -> list[psutil.Process]:
    """Waits until the family has started."""
    return [psutil.Process(int(pid)) for pid in (folder / "pipe").read_text().split()]


def wait_gone(members: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(members, timeout=WAIT_S)
    assert [each for each in alive if _is_left(each)] == []


def _is_left(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(("deaths", "delay_s"), [(1, 0.5), (2, 1.0), (4, 4.0), (7, 30.0), (100, 30.0)])
def test_restarts_come_later_and_later(deaths: int, delay_s: float) -> None:
    """Doubling, up to a bound."""
    assert restart_delay_s(deaths) == delay_s


async def test_a_command_that_ends_gives_its_code_and_its_output(tmp_path: Path) -> None:
    """Both streams go to the log."""
    assert await run_command(command(tmp_path, "sh", "-c", "echo out; echo err >&2; exit 3")) == 3
    assert (tmp_path / "log").read_text() == "out\nerr\n"


@pytest.mark.parametrize(("words", "grace_s"), [((), 10.0), (("deaf",), 0.2)])
async def test_cancelling_stops_the_command_and_its_children(
    tmp_path: Path, words: tuple[str, ...], grace_s: float
) -> None:
    """Asked first, killed when it does not listen; the whole group either way."""
    running = asyncio.create_task(run_command(family(tmp_path, *words, grace_s=grace_s)))
    members = await asyncio.to_thread(read_family, tmp_path)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    wait_gone(members)


async def test_a_killed_command_takes_its_children_along(tmp_path: Path) -> None:
    """What kill -9 of Triton leaves of its stubs goes with it, and the code says how it died."""
    running = asyncio.create_task(run_command(family(tmp_path)))
    members = await asyncio.to_thread(read_family, tmp_path)
    members[0].kill()
    async with asyncio.timeout(WAIT_S):
        assert await running == 128 + signal.SIGKILL
    wait_gone(members)


@pytest.mark.parametrize("victim", ["launcher", "leash"])
def test_nothing_outlives_a_killed_launcher(tmp_path: Path, victim: str) -> None:
    """Kill -9 of either; the launcher here is the test, which holds the leash's standard input."""
    arguments = [sys.executable, "-S", leash.__file__, "5", *family(tmp_path).arguments]
    holder = subprocess.Popen(arguments, stdin=subprocess.PIPE)
    assert holder.stdin is not None
    members = read_family(tmp_path)
    if victim == "leash":
        holder.kill()
        wait_gone(members[:1])
        members[1].kill()  # a stub sees by itself that its server is gone; this stand-in does not
    else:
        holder.stdin.close()  # the kernel does the same when the launcher dies
        wait_gone(members)
    holder.wait(WAIT_S)
    holder.stdin.close()


async def test_a_death_before_ready_is_an_error_with_the_log(tmp_path: Path) -> None:
    """Starting it again would fail again; the user sees why at once."""
    dying = command(tmp_path, "sh", "-c", "echo no such model; exit 1")
    with pytest.raises(CommandError, match=r"family ended with code 1.*\n.*no such model"):
        await keep_running(dying, ready=asyncio.Event(), report=lambda line: None)


async def test_a_crash_before_ready_is_tried_again(tmp_path: Path) -> None:
    """By a signal, which says nothing of the model; one that crashes on and on is an error all the same."""
    reports: list[str] = []
    crashing = command(tmp_path, "sh", "-c", "echo ouch; kill -ABRT $$")
    with pytest.raises(CommandError, match=r"family ended with code 134.*\n.*ouch"):
        await keep_running(crashing, ready=asyncio.Event(), report=reports.append)
    assert len(reports) == CRASHES


async def test_a_death_after_ready_is_reported_and_mended(tmp_path: Path) -> None:
    """The command is started again until the supervision is cancelled."""
    ready = asyncio.Event()
    ready.set()
    reports: list[str] = []
    twice = asyncio.Event()

    def report(line: str) -> None:
        reports.append(line)
        if len(reports) == 2:
            twice.set()

    supervision = asyncio.create_task(
        keep_running(command(tmp_path, "sh", "-c", "exit 9"), ready=ready, report=report)
    )
    async with asyncio.timeout(WAIT_S):
        await twice.wait()
    supervision.cancel()
    with pytest.raises(asyncio.CancelledError):
        await supervision
    assert "family ended with code 9; starts again in 0.5 s" in reports[0]
    assert "again in 1 s" in reports[1]


@pytest.mark.parametrize(
    ("script", "output"), [("echo /models/tiny", "/models/tiny"), ("echo half; exit 1", None)]
)
async def test_output_counts_only_from_a_command_that_succeeded(script: str, output: str | None) -> None:
    """Half an answer is none."""
    assert await read_output(("sh", "-c", script), environment=os.environ) == output
