"""Ends the Triton server whose stage has died or gets stuck at its start, so that its keeper starts it again.

Triton outlives its Python stages: once one is killed (out of memory, a fault in a kernel), the server stays
ready and fails every request; and for a stage that is stuck while it loads, it waits for ever. Each adapter
in `model_repo/` has this file run as a process beside the stage, before the long imports. When a loaded stage
goes without a farewell, the server goes too; a stage that is stuck is made to go, and leaves the stacks of
its threads in the server's log. Standard library only and run by its path, so that it is small.
"""

import faulthandler
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

SERVER: Final = "tritonserver"
REGION_PREFIX: Final = "triton_python_backend_shm_region"
FAREWELL_S: Final = 5.0
STUCK_S: Final = 120.0
"""A stage that neither computes nor maps memory for so long, before it is loaded, is stuck."""
_IDLE_SHARE: Final = 0.01
"""Of a core."""
_IDLE_PAGES: Final = 100
"""Mapped anew; a checkpoint that comes from a slow disk costs little computing, but many of these."""
_LOADED: Final = b"loaded\n"
_FAREWELL: Final = b"farewell\n"


class Watchdog:
    """The stage's end of it. `server`: a process id; `region`: the memory that stage and server share."""

    def __init__(self, server: int, region: Path, stuck_s: float = STUCK_S) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # this very file
            [_find_python(), "-I", "-S", __file__, str(os.getpid()), str(server), str(region), str(stuck_s)],
            stdin=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # who kills server and stages as a group leaves it to clean up
        )
        faulthandler.enable()  # writes the stacks of all threads when the process is ended by a fault

    @classmethod
    def start(cls) -> Self | None:
        """None where the stage has another host than Triton."""
        server = os.getppid()
        if Path(f"/proc/{server}/comm").read_text().strip() != SERVER:
            return None
        words = Path("/proc/self/cmdline").read_text().split("\0")
        region = next(word for word in words if word.startswith(REGION_PREFIX))
        return cls(server, Path("/dev/shm") / region)  # noqa: S108  # where Triton puts it

    def tell_loaded(self) -> None:
        """The stage serves; from now on it may be idle."""
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        with suppress(BrokenPipeError):  # without a watchdog, which says why in the log, it serves unguarded
            self._process.stdin.write(_LOADED)

    def dismiss(self) -> None:
        """The stage ends because it was told to."""
        self._process.communicate(_FAREWELL, FAREWELL_S)


def _find_python() -> str:
    """Inside Triton's stub the interpreter is a library, and `sys.executable` not always a program."""
    beside = Path(sys.prefix) / "bin" / "python3"
    return str(beside) if beside.exists() else "python3"


def main() -> None:
    stage, server = int(sys.argv[1]), os.pidfd_open(int(sys.argv[2]))
    region, stuck_s = Path(sys.argv[3]), float(sys.argv[4])
    if _gets_stuck(stage, stuck_s):
        _end(stage, stuck_s)
    else:
        said = sys.stdin.buffer.read()
        if not said.startswith(_LOADED) or said.endswith(_FAREWELL):
            return  # a server whose stage cannot be loaded ends by itself, and says why
    region.unlink(missing_ok=True)  # of the other stages' memory, each removes its own
    with suppress(ProcessLookupError):  # the stage went because the server was killed
        signal.pidfd_send_signal(server, signal.SIGKILL)


def _gets_stuck(stage: int, stuck_s: float) -> bool:
    """Waits until it does, or says that it is loaded, or has ended."""
    with suppress(ProcessLookupError, FileNotFoundError):  # it has ended
        before = _measure_work(stage)
        while not _hears_in(stuck_s):
            now = _measure_work(stage)
            if now.cpu_s - before.cpu_s < _IDLE_SHARE * stuck_s and now.pages - before.pages < _IDLE_PAGES:
                return True
            before = now
    return False


def _end(stage: int, stuck_s: float) -> None:
    """In a way that says where it is stuck; but in any case."""
    with suppress(OSError):
        sys.stderr.write(f"a stage that loads has done nothing for {stuck_s:g} s: ending it\n")
    with suppress(ProcessLookupError):
        os.kill(stage, signal.SIGABRT)
        if not _hears_in(FAREWELL_S):
            os.kill(stage, signal.SIGKILL)


def _hears_in(wait_s: float) -> bool:
    """A word of the stage, or its end."""
    return bool(select.select([sys.stdin], [], [], wait_s)[0])


class _Work(NamedTuple):
    cpu_s: float
    pages: int


def _measure_work(process: int) -> _Work:
    """Of it and the children that it has waited for (proc(5): minflt to stime follow the name by seven)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    pages = sum(map(int, fields[7:11]))
    return _Work(cpu_s=sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK"), pages=pages)


if __name__ == "__main__":
    main()
