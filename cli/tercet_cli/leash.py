"""Runs one command for as long as somebody holds its standard input: `python leash.py GRACE_S COMMAND...`.

Started by `supervision` in place of each command. Letting go of the pipe is the one way to stop a command,
and the kernel does it too when the launcher is killed, so nothing outlives `tercet up`. Standard library
only and run by its path, so that it starts in a few milliseconds.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1
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
    _signal_group(child, signal.SIGKILL)  # what the command left behind
    return code if code >= 0 else 128 - code


def _stop_when_let_go(child: subprocess.Popen[bytes], grace_s: float) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    _signal_group(child, signal.SIGTERM)
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        _signal_group(child, signal.SIGKILL)


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _die_with_leash() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
