"""Runs one command for as long as somebody holds its standard input: `python leash.py GRACE_S COMMAND...`.

Started by `supervision` in place of each command. Letting go of the pipe is the one way to stop a command,
and the kernel does it too when the launcher is killed, so nothing outlives `tercet up`. Standard library
only and run by its path, so that it starts in a few milliseconds.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
ORPHANS_S = 5.0
POLL_S = 0.05
_LIBC = ctypes.CDLL(None)


def main() -> int:
    grace_s, command = float(sys.argv[1]), sys.argv[2:]
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_leash,  # noqa: PLW1509  # no other thread runs yet
    )
    threading.Thread(target=_stop_when_let_go, args=(child, grace_s), daemon=True).start()
    code = child.wait()
    _end_orphans(child)
    return code if code >= 0 else 128 - code


def _stop_when_let_go(child: subprocess.Popen[bytes], grace_s: float) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    _signal_group(child, signal.SIGTERM)
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        _signal_group(child, signal.SIGKILL)


def _end_orphans(child: subprocess.Popen[bytes]) -> None:
    """Triton's stubs see that their server is gone and then remove their shared memory, if they may."""
    for _ in range(int(ORPHANS_S / POLL_S)):
        if not _signal_group(child, 0):
            return
        time.sleep(POLL_S)
    _signal_group(child, signal.SIGKILL)


def _signal_group(child: subprocess.Popen[bytes], number: int) -> bool:
    """False when nobody is left in the group."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return False
    return True


def _die_with_leash() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
