"""Keeps a command running: on a leash, with a log file, started again when it dies.

Used by `up` for each Triton server and for the gateway. Knows processes; what they serve it does not.
"""

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tercet_cli import leash
from tercet_cli.errors import CommandError

HEALTHY_S: Final = 60.0
"""A command that ran this long is forgiven its earlier deaths."""
FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 30.0
CRASHES: Final = 2
"""How often a command may crash before it is ready: Triton may abort at its start on a busy machine."""
LEASH_S: Final = 10.0
"""What the leash may need beyond the command's own grace."""
SHORT_GRACE_S: Final = 2.0
LOG_LINES: Final = 5
LOG_WIDTH: Final = 400

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    """The whole of it; nothing is inherited."""
    log_path: Path
    grace_s: float
    """From SIGTERM to SIGKILL."""


def restart_delay_s(deaths: int) -> float:
    """`deaths` in a row, at least one."""
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (deaths - 1))


async def keep_running(command: Command, *, ready: asyncio.Event, report: Report) -> None:
    """Runs until cancelled. An end by itself before `ready` is set is an error: a restart would not help."""
    deaths = 0
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        code = await run_command(command)
        if not ready.is_set() and not (_is_crash(code) and deaths < CRASHES):
            raise CommandError(_death_notice(command, code))
        deaths = 1 if clock() - began >= HEALTHY_S else deaths + 1
        delay_s = restart_delay_s(deaths)
        report(
            f"{command.name} ended with code {code}; starts again in {delay_s:g} s (log: {command.log_path})"
        )
        await asyncio.sleep(delay_s)


def _is_crash(code: int) -> bool:
    """It was ended by a signal, as a shell writes that."""
    return code > 128


async def run_command(command: Command) -> int:
    """The command's exit code; when cancelled, the command is stopped before this returns."""
    with command.log_path.open("ab") as log:
        async with _start(
            command.arguments, command.grace_s, stdout=log, stderr=log, env=command.environment
        ) as process:
            return await process.wait()


async def read_output(arguments: Sequence[str], *, environment: Mapping[str, str]) -> str | None:
    """What the command wrote to stdout, or None when it failed; its stderr is the launcher's."""
    async with _start(arguments, SHORT_GRACE_S, stdout=subprocess.PIPE, env=environment) as process:
        output, _ = await process.communicate()
        return output.decode().strip() if process.returncode == 0 else None


@asynccontextmanager
async def _start(arguments: Sequence[str], grace_s: float, **options: Any) -> AsyncIterator[Process]:
    """The command on its leash; on leaving, it has ended. `options` are the subprocess module's."""
    leash_end, hold_end = os.pipe()
    with os.fdopen(leash_end, "rb") as leash_file, os.fdopen(hold_end, "wb") as hold:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", leash.__file__, str(grace_s), *arguments),
            stdin=leash_file,
            start_new_session=True,
            **options,
        )
        try:
            yield process
        finally:
            hold.close()
            async with asyncio.timeout(grace_s + LEASH_S):
                await process.wait()


def _death_notice(command: Command, code: int) -> str:
    lines = command.log_path.read_text(errors="replace").splitlines()
    faults = [line for line in lines if "error" in line.lower()]
    shown = "\n".join(f"  | {line[:LOG_WIDTH]}" for line in (faults or lines)[-LOG_LINES:])
    return f"{command.name} ended with code {code} before it was ready; {command.log_path} says:\n{shown}"
