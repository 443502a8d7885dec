"""`python -m bench.engine`: the three stages' engines on one device, against transformers.

In the shapes of Qwen2.5-Omni on a CUDA device, in those of `demo://bench` on a CPU. Figures are printed as
they are measured and kept in OUT/records.jsonl, so that nothing is lost when time runs out; a table with the
targets comes last, and OUT/engine-MODEL.json has everything, OUT/*-MODEL.svg the plots. Without a checkpoint
at hand the weights are random. `--model tiny --device cpu --quick` tries all of it in a minute anywhere.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console

from bench.engine.findings import COLUMNS, Figures, list_claims, list_rows
from bench.engine.models import MODELS, WEIGHTS
from bench.engine.plots import list_plots
from bench.engine.records import Record, read_finished, read_records
from bench.engine.worker import PARTS
from bench.machine import describe_machine
from bench.reports import Report, print_report, write_report

RESULTS: Final = Path(__file__).parents[1] / "results"
SHARED_MEMORY: Final = Path("/dev/shm")
NEEDED_BYTES: Final = 40 * 10**9
"""For the weights of both models."""
GRACE_S: Final = 5.0


def main(words: Sequence[str] | None = None) -> int:
    """Exit with 1 when a part did not come to its end or a target is missed."""
    options = _parse(words)
    deadline = time.monotonic() + options.seconds
    options.out.mkdir(parents=True, exist_ok=True)
    file: Path = options.out / "records.jsonl"
    file.unlink(missing_ok=True)
    setup = {**describe_machine(), **describe_device(options.device), "options": vars(options)}
    console = Console(width=120)
    console.print(setup, highlight=False)
    is_well = True
    for model in options.model:
        unfinished = _run_parts(model, options, file, deadline)
        records = [record for record in read_records(file) if record.model == model]
        report = build_report(model, records, unfinished, judged=not options.quick)
        print_report(report, console)
        written = write_report(report, json.loads(json.dumps(setup, default=str)), options.out)
        console.print(f"written to {written}", highlight=False)
        is_well = is_well and not unfinished and all(claim.is_met for claim in report.claims)
    return 0 if is_well else 1


def choose_scratch() -> Path:
    """Memory, where there is enough of it."""
    if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free >= NEEDED_BYTES:
        return SHARED_MEMORY
    return Path(tempfile.gettempdir())


def describe_device(name: str) -> dict[str, Any]:
    device = torch.device(name)
    if device.type != "cuda":
        return {"device": name}
    card = torch.cuda.get_device_properties(device)
    return {
        "device": name,
        "card": card.name,
        "memory_gib": card.total_memory / 2**30,
        "cuda": torch.version.cuda,
    }


def _run_parts(model: str, options: argparse.Namespace, file: Path, deadline: float) -> list[str]:
    """Those that did not come to their end. A process that dies is blamed on its first unfinished part."""
    waiting = list(options.part or PARTS)
    failed: list[str] = []
    while waiting and (left_s := deadline - time.monotonic()) > 0:
        _work(model, waiting, options, file, left_s)
        finished = read_finished(file, model)
        while waiting and waiting[0] in finished:
            waiting.pop(0)
        if waiting:
            print(f"{model}: part {waiting[0]} did not come to its end", flush=True)
            failed.append(waiting.pop(0))
    return failed + waiting


def _work(model: str, parts: list[str], options: argparse.Namespace, file: Path, seconds: float) -> None:
    """A process for these parts, and an end to it and all that it started."""
    order = {
        "model": model,
        "device": options.device,
        "dtype": options.dtype,
        "folder": str(options.scratch / f"tercet-{model}-{options.dtype}-v{WEIGHTS}"),
        "checkpoint": str(options.checkpoint) if options.checkpoint else None,
        "quick": options.quick,
        "peer_s": options.peer_seconds,
        "parts": parts,
        "file": str(file),
        "part_s": options.part_seconds,
    }
    command = [sys.executable, "-m", "bench.engine.worker", json.dumps(order)]
    worker = subprocess.Popen(command, start_new_session=True)
    try:
        worker.wait(seconds)
    except subprocess.TimeoutExpired:
        print(f"{model}: time is up", flush=True)
    finally:
        with suppress(ProcessLookupError):  # it has left nothing behind
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(GRACE_S)


def build_report(model: str, records: Sequence[Record], unfinished: Sequence[str], *, judged: bool) -> Report:
    figures = Figures(records)
    raw = [
        {"name": each.name, "value": each.value, "unit": each.unit, "facts": each.facts} for each in records
    ]
    title = model + (f"; not finished: {', '.join(unfinished)}" if unfinished else "")
    return Report(
        name=f"engine-{model}",
        title=title,
        columns=COLUMNS,
        rows=list(list_rows(figures)),
        claims=list(list_claims(figures)) if judged else (),
        plots={f"{name}-{model}": plot for name, plot in list_plots(figures).items()},
        raw={"unfinished": list(unfinished), "records": raw},
    )


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--model", action="append", choices=MODELS, help="else 3B and 7B, on a CPU bench")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="else all")
    parser.add_argument("--quick", action="store_true", help="small amounts and no targets: does it work?")
    parser.add_argument("--device", default="cuda:0" if cuda else "cpu")
    parser.add_argument("--dtype", default=None, help="else bfloat16 on a GPU and float32 on a CPU")
    parser.add_argument("--checkpoint", type=Path, help="a folder with real weights of the one model named")
    parser.add_argument("--scratch", type=Path, default=choose_scratch(), help="where random weights go")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=7200.0, help="most of the whole run")
    parser.add_argument("--part-seconds", type=float, default=900.0, help="most of a part")
    parser.add_argument(
        "--peer-seconds", type=float, default=300.0, help="most of a network of transformers'"
    )
    options = parser.parse_args(words)
    options.model = options.model or (["3B", "7B"] if options.device.startswith("cuda") else ["bench"])
    options.dtype = options.dtype or ("bfloat16" if options.device.startswith("cuda") else "float32")
    if options.checkpoint and len(options.model) != 1:
        parser.error("--checkpoint is of one model: name it with --model")
    return options


if __name__ == "__main__":
    sys.exit(main())
