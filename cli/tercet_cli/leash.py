"""Runs a command for as long as somebody holds its standard input: `leash.py [--whole] GRACE_S COMMAND...`.

Started by `supervision` in place of each command. Letting go of the pipe is the one way to stop a command,
and the kernel does it too when the launcher is killed, so nothing outlives `tercet up`. With `--whole` the
command is killed when one of its children has died. Standard library only and run by its path, so that it
starts in a few milliseconds.
"""

import contextlib
import ctypes
import glob
import os
import signal
import subprocess
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
ORPHANS_S = 5.0
POLL_S = 0.05
CHILDREN_POLL_S = 0.5
LAST_WORDS_S = 2.0
"""For a command that has noticed its child's end itself, to say so in its log."""
_LIBC = ctypes.CDLL(None)


def main() -> int:
    flags = [word for word in sys.argv[1:2] if word == "--whole"]
    grace_s, command = float(sys.argv[1 + len(flags)]), sys.argv[2 + len(flags) :]
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_leash,  # noqa: PLW1509  # no other thread runs yet
    )
    let_go = threading.Event()
    threading.Thread(target=_stop_when_let_go, args=(child, grace_s, let_go), daemon=True).start()
    if flags:
        threading.Thread(target=_end_with_first_child, args=(child, let_go), daemon=True).start()
    code = child.wait()
    _end_orphans(child)
    return code if code >= 0 else 128 - code


def _stop_when_let_go(child: subprocess.Popen[bytes], grace_s: float, let_go: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    let_go.set()
    _signal_group(child, signal.SIGTERM)
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        _signal_group(child, signal.SIGKILL)


def _end_with_first_child(child: subprocess.Popen[bytes], let_go: threading.Event) -> None:
    """Triton itself goes on without the process of a stage, says that it is ready, and fails every turn."""
    known: set[str] = set()
    while not let_go.wait(CHILDREN_POLL_S):
        alive = _list_children(child.pid)
        if known - alive:
            let_go.wait(LAST_WORDS_S)
            _signal_group(child, signal.SIGKILL)
            return
        known |= alive


def _list_children(pid: int) -> set[str]:
    """Process ids of the children that are not zombies, whichever of the threads started them."""
    children: set[str] = set()
    for listing in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError), open(listing) as file:
            children.update(file.read().split())
    return {number for number in children if _is_alive(number)}


def _is_alive(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return not file.read().rpartition(")")[2].lstrip().startswith("Z")
    except OSError:
        return False


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
