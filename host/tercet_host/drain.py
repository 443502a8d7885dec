"""`python -m tercet_host.drain --limit SECONDS`: wait until a Triton server has no turns left.

A pod's preStop hook, run beside the server. It first waits for a while, since gateways learn of a leaving
pod a little later than the pod itself; then it asks the server's metrics. It imports next to nothing, as it
starts in the moment when a machine may be short of everything.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.request import ProxyHandler, build_opener

from tercet_wire.names import TRITON_METRICS_PORT, TURNS_METRIC

SETTLE_S: Final = 5.0
POLL_S: Final = 0.5
ASK_S: Final = 5.0
QUIET_POLLS: Final = 2
"""A turn on its way from one stage to the next is in neither for a moment."""
POD_LOG: Final = Path("/proc/1/fd/2")
"""What a hook writes to its own stderr is seen only when it fails."""

_SAMPLE: Final = re.compile(rf'^{TURNS_METRIC}{{[^}}]*stage="(\w+)"[^}}]*}} (\S+)$', re.MULTILINE)

Turns = Mapping[str, int]
"""By stage."""


class ServerGoneError(Exception):
    """Nobody listens any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def main() -> None:
    parser = argparse.ArgumentParser(prog="tercet_host.drain", description=__doc__.partition("\n")[0])
    parser.add_argument("--limit", type=float, required=True, help="seconds to wait for turns at most")
    parser.add_argument("--settle", type=float, default=SETTLE_S, help="seconds to wait before that")
    parser.add_argument("--port", type=int, default=TRITON_METRICS_PORT, help="of the server's metrics")
    asked = parser.parse_args()
    time.sleep(asked.settle)
    if not drain(lambda: read_turns(asked.port), asked.limit, say=_say):
        sys.exit(1)  # the pod's events then tell of it


def drain(
    read: Callable[[], Turns | None],
    limit_s: float,
    *,
    say: Callable[[str], None],
    clock: Clock | None = None,
) -> bool:
    """False where turns are left when the limit is over. `read` gives None for an answer without figures."""
    clock = clock or Clock()
    began, quiet, shown = clock.now(), 0, ""
    try:
        while quiet < QUIET_POLLS:
            turns = read()
            left = render_turns(turns)
            quiet = quiet + 1 if turns is not None and not any(turns.values()) else 0
            if clock.now() - began >= limit_s and not quiet:
                say(f"{limit_s:g} s are over; cut off: {left}")
                return False
            if not quiet and left != shown:
                say(f"waiting at most {limit_s:g} s for {left}")
                shown = left
            clock.sleep(POLL_S)
    except ServerGoneError:
        say("the server is gone")
        return True
    say(f"no turns are left after {clock.now() - began:.1f} s")
    return True


def read_turns(port: int) -> Turns | None:
    opener = build_opener(ProxyHandler({}))  # a proxy of the environment cannot reach this server
    try:
        with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=ASK_S) as answer:
            return parse_turns(answer.read().decode())
    except (OSError, HTTPException) as error:
        if isinstance(getattr(error, "reason", error), ConnectionRefusedError):
            raise ServerGoneError from error
        return None  # busy, or about to go: the next answer will tell


def parse_turns(page: str) -> Turns:
    return {stage: int(float(value)) for stage, value in _SAMPLE.findall(page)}


def render_turns(turns: Turns | None) -> str:
    if turns is None:
        return "an answer"
    return ", ".join(f"{count} in the {stage}" for stage, count in turns.items() if count) or "no turns"


def _say(text: str) -> None:
    line = f"drain: {text}\n"
    sys.stderr.write(line)
    if os.getppid() == 0:  # started from outside the pod, as its hooks are
        with suppress(OSError):
            _write_to_pod_log(line)


def _write_to_pod_log(line: str) -> None:
    log = os.open(
        POD_LOG, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK
    )  # a log that nobody reads holds up nothing
    try:
        os.write(log, line.encode())
    finally:
        os.close(log)


if __name__ == "__main__":
    main()
