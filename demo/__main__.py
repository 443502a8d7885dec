"""`python -m demo [STEP ...]`: make the demo model again, from a grammar and espeak-ng to a checkpoint.

Without steps everything that is not there yet is made: data first, then two lanes of training side by side.
It can be stopped at any time and goes on where it was. What it makes is kept in `--folder`. A network can be
kept as it is in the package's checkpoint, or trained further from there.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from demo.assembling import PARTS
from demo.steps import FURTHER, LANES, STEPS, Setting, is_done, keep_codec, keep_served

_FOLDER: Final = Path("demo/work")
_KEEP_MEMORY: Final = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
"""Large tensors come and go with each step; glibc would hand their pages back and fetch them anew."""


def main(words: Sequence[str] | None = None) -> int:
    given = _parse(words)
    setting = Setting(
        folder=given.folder,
        device=given.device,
        seconds=given.seconds,
        talks=given.talks,
        dictated=given.dictated,
        seed=given.seed,
        further=tuple(given.further),
    )
    given.folder.mkdir(parents=True, exist_ok=True)
    for part in given.keep:
        keep_served(part, given.folder)
    if given.keep or given.further:
        keep_codec(given.folder)
    if given.steps:
        for name in given.steps:
            STEPS[name].run(setting)
        return 0
    return _make_all(given, setting)


def _make_all(given: argparse.Namespace, setting: Setting) -> int:
    """Each lane in processes of its own, so that the lanes share nothing but the machine."""
    shared = [name for name in STEPS if not any(name in lane for lane in LANES)]
    first, last = [name for name in shared[:-1] if not is_done(name, setting)], shared[-1:]
    lanes = [[name for name in lane if not is_done(name, setting)] for lane in LANES]
    for groups in ([first], lanes, [last]):
        running = [_start(given, group) for group in groups if group]
        codes = [process.wait() for process in running]
        if any(codes):
            return 1
    return 0


def _start(given: argparse.Namespace, steps: Sequence[str]) -> subprocess.Popen[bytes]:
    options = ["--folder", str(given.folder), "--device", given.device, "--talks", str(given.talks)]
    options += ["--dictated", str(given.dictated), "--seed", str(given.seed)]
    for part in given.further:
        options += ["--further", part]
    if given.seconds is not None:
        options += ["--seconds", str(given.seconds)]
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // len(LANES)))}
    environment = {**_KEEP_MEMORY, **threads, **os.environ}
    return subprocess.Popen([sys.executable, "-m", "demo", *options, *steps], env=environment)


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}; else all")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="where all that is made is kept")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seconds", type=float, help="of each training, in place of the recipe's")
    parser.add_argument(
        "--keep", action="append", default=[], choices=PARTS, help="take this network as it is served"
    )
    parser.add_argument(
        "--further", action="append", default=[], choices=FURTHER, help="train this one on from there"
    )
    parser.add_argument(
        "--talks", type=int, default=8_000, help="conversations, and sentences to repeat, that are spoken"
    )
    parser.add_argument(
        "--dictated", type=int, default=32_000, help="sentences to repeat that the talker learns from"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the conversations that are drawn")
    given = parser.parse_args(words)
    if unknown := set(given.steps) - set(STEPS):
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    return given


if __name__ == "__main__":
    sys.exit(main())
