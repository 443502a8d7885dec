"""Ends the Triton server whose stage has died, so that whoever keeps the server starts it again.

Triton outlives its Python stages: once one is killed (out of memory, a fault in a kernel), the server stays
ready and fails every request. `stage_host` has this file run as a process beside the stage; when the stage
goes without a farewell, the server goes too. Standard library only and run by its path, so that it is small.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

SERVER: Final = "tritonserver"
REGION_PREFIX: Final = "triton_python_backend_shm_region"
FAREWELL_S: Final = 5.0


class Watchdog:
    """The stage's end of it. `server`: a process id; `region`: the memory that stage and server share."""

    def __init__(self, server: int, region: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # this very file
            [_find_python(), "-I", "-S", __file__, str(server), str(region)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # who kills server and stages as a group leaves it to clean up
        )

    @classmethod
    def start(cls) -> Self | None:
        """None where the stage has another host than Triton."""
        server = os.getppid()
        if Path(f"/proc/{server}/comm").read_text().strip() != SERVER:
            return None
        words = Path("/proc/self/cmdline").read_text().split("\0")
        region = next(word for word in words if word.startswith(REGION_PREFIX))
        return cls(server, Path("/dev/shm") / region)  # noqa: S108  # where Triton puts it

    def dismiss(self) -> None:
        """The stage ends because it was told to."""
        self._process.communicate(b"farewell", FAREWELL_S)


def _find_python() -> str:
    """Inside Triton's stub the interpreter is a library, and `sys.executable` not always a program."""
    beside = Path(sys.prefix) / "bin" / "python3"
    return str(beside) if beside.exists() else "python3"


def main() -> None:
    server, region = os.pidfd_open(int(sys.argv[1])), Path(sys.argv[2])
    if sys.stdin.buffer.read():
        return
    region.unlink(missing_ok=True)  # of the other stages' memory, each removes its own
    with suppress(ProcessLookupError):  # the stage went because the server was killed
        signal.pidfd_send_signal(server, signal.SIGKILL)


if __name__ == "__main__":
    main()
