"""How long gateway and operator take from the start of their process until Kubernetes would call them ready.

`python -m bench.cold_start [--runs 10] [--images build/images]`. Both against an API server of their own:
the gateway until /readyz says that its catalog is there, the operator until /healthz answers. With `--images`
also out of the images, unpacked and entered by chroot, as the user that pods name (needs root). Files come
from memory: no caches are emptied.
"""

import argparse
import asyncio
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Final

import psutil
from rich.console import Console
from tercet_operator.resources.pods import USER_ID

from bench.machine import describe_machine
from bench.reports import Claim, Report, print_report, write_report
from bench.scale_cluster import open_api, run_control_plane, run_program

RESULTS: Final = Path(__file__).parent / "results"
API_PORT: Final = 28443
PORT: Final = 28449
METRICS_PORT: Final = 28450
LIMITS_S: Final = {"gateway": 2.0, "operator": 3.0}
POLL_S: Final = 0.005
PATIENCE_S: Final = 60.0
COLUMNS: Final = ("program", "from", "median", "fastest", "slowest", "CPU (median)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a program is started: in this tree, or in an image whose files lie below `root`."""

    name: str
    python: tuple[str, ...]
    root: Path
    folder: Path
    """Of what the program is told, as the program sees it."""

    def tell(self, name: str, text: str) -> str:
        """Returns the file's name for the program."""
        seen = self.folder / name
        file = self.root / seen.relative_to("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return str(seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    name: str
    place: Place
    words: tuple[str, ...]
    variables: dict[str, str]
    port: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    program: str
    place: str
    starts: tuple[Start, ...]

    @property
    def median_s(self) -> float:
        return median(start.wall_s for start in self.starts)

    def cells(self) -> tuple[str, ...]:
        walls = [start.wall_s for start in self.starts]
        cpu_s = median(start.cpu_s for start in self.starts)
        times = (f"{each:.2f} s" for each in (self.median_s, min(walls), max(walls), cpu_s))
        return (self.program, self.place, *times)


def measure(program: Program, runs: int, log: Path) -> Outcome:
    starts = tuple(start_once(program, log) for _ in range(runs))
    return Outcome(program=program.name, place=program.place.name, starts=starts)


def start_once(program: Program, log: Path) -> Start:
    began = time.monotonic()
    command: list[str | Path] = [*program.place.python, "-m", *program.words]
    # Set or not where this runs: the first start leaves bytecode, as everywhere.
    variables = {"PYTHONDONTWRITEBYTECODE": ""} | program.variables
    with run_program(command, log, **variables) as process:
        while not is_ready(program):
            if process.poll() is not None or time.monotonic() - began > PATIENCE_S:
                raise RuntimeError(f"{program.name} does not start:\n{log.read_text()}")
            time.sleep(POLL_S)
        wall_s = time.monotonic() - began
        times = psutil.Process(process.pid).cpu_times()
    return Start(wall_s=wall_s, cpu_s=times.user + times.system)


def is_ready(program: Program) -> bool:
    connection = HTTPConnection("127.0.0.1", program.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", program.path)
        return connection.getresponse().status == 200
    except ConnectionError:
        return False
    finally:
        connection.close()


def build_gateway(place: Place, kubeconfig: str) -> Program:
    cluster = {"kubeconfig": place.tell("kubeconfig", kubeconfig)}
    settings = {"port": PORT, "metrics_port": METRICS_PORT, "cluster": cluster}
    return Program(
        name="gateway",
        place=place,
        words=("tercet_gateway", "--settings", place.tell("gateway.json", json.dumps(settings))),
        variables={},
        port=PORT,
        path="/readyz",
    )


def build_operator(place: Place, kubeconfig: str) -> Program:
    return Program(
        name="operator",
        place=place,
        words=("tercet_operator",),
        variables={
            "KUBECONFIG": place.tell("kubeconfig", kubeconfig),
            "TERCET_METRICS_PORT": str(METRICS_PORT),
        },
        port=METRICS_PORT,
        path="/healthz",
    )


BUILDERS: Final = {"gateway": build_gateway, "operator": build_operator}


def unpack(archive: Path, root: Path) -> Place:
    """Layer upon layer; those of these images take nothing away."""
    with tarfile.open(archive) as opened:
        manifest = opened.extractfile("manifest.json")
        assert manifest is not None
        for name in json.load(manifest)[0]["Layers"]:
            with tarfile.open(fileobj=opened.extractfile(name)) as layer:
                layer.extractall(root, filter="fully_trusted")
    enter = ("chroot", f"--userspec={USER_ID}:{USER_ID}", str(root))
    python = "/opt/tercet/venv/bin/python3"
    return Place(name="image", python=(*enter, python), root=root, folder=Path("/tmp/cold-start"))


@contextmanager
def prepare(images: Path | None) -> Iterator[tuple[list[Program], Path]]:
    """All programs, and the file that takes what they say."""
    with tempfile.TemporaryDirectory(prefix="tercet-cold-") as name:
        folder = Path(name)
        tree = Place(name="checkout", python=(sys.executable,), root=Path("/"), folder=folder)
        places = [(program, tree) for program in BUILDERS]
        if images is not None:
            places += [(program, unpack(images / f"{program}.tar", folder / program)) for program in BUILDERS]
        with run_control_plane(folder / "kube", API_PORT) as kubeconfig:
            asyncio.run(add_crd(kubeconfig))
            text = kubeconfig.read_text()
            yield [BUILDERS[program](place, text) for program, place in places], folder / "log"


async def add_crd(kubeconfig: Path) -> None:
    async with open_api(kubeconfig) as api:
        await api.add_crd()


def judge(outcomes: Sequence[Outcome]) -> Report:
    return Report(
        name="cold_start",
        title="From the start of the process until ready",
        columns=COLUMNS,
        rows=[outcome.cells() for outcome in outcomes],
        claims=[
            Claim(
                text=f"seconds until the {outcome.program} is ready, from the {outcome.place}, median",
                measured=outcome.median_s,
                target=LIMITS_S[outcome.program],
                at_least=False,
            )
            for outcome in outcomes
        ],
        raw={"outcomes": [asdict(outcome) for outcome in outcomes]},
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="starts of each program")
    parser.add_argument("--images", type=Path, help="folder of the archives that hack/images.sh makes")
    given = parser.parse_args()
    console, setup = Console(), describe_machine()
    console.print(f"{setup['processor']}, {setup['cores']} cores, load {os.getloadavg()}", highlight=False)
    with prepare(given.images) as (programs, log):
        report = judge([measure(program, given.runs, log) for program in programs])
    print_report(report, console)
    console.print(f"written to {write_report(report, setup, RESULTS)}", highlight=False)
    return 0 if all(claim.is_met for claim in report.claims) else 1


if __name__ == "__main__":
    sys.exit(main())
