"""`python -m bench [NAME ...]`: run the benchmarks, print their tables, write bench/results/NAME.json.

Each runs in a process of its own, so that threads and memory of one do not tell on the next.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from tercet_cli.errors import CommandError
from tercet_cli.sources import DEFAULT_CACHE

from bench.apart import run_apart
from bench.machine import describe_machine
from bench.product import ProductError
from bench.registry import BENCHMARKS, Options
from bench.reports import print_report, write_report

RESULTS: Final = Path(__file__).parent / "results"


def main(words: Sequence[str] | None = None) -> int:
    """Exit with 1 when a claim is not met or a benchmark could not run."""
    names, options = _parse(words)
    console = Console()
    setup = describe_machine()
    console.print(f"{setup['processor']}, {setup['cores']} cores, commit {setup['commit']}", highlight=False)
    met = True
    for name in names:
        try:
            report = run_apart(BENCHMARKS[name], options)
        except (CommandError, ProductError) as error:
            console.print(f"{name}: {error}", markup=False)
            return 1
        print_report(report, console)
        console.print(f"written to {write_report(report, setup, RESULTS)}", highlight=False)
        met = met and all(claim.is_met for claim in report.claims)
    return 0 if met else 1


def _parse(words: Sequence[str] | None) -> tuple[list[str], Options]:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; else all")
    parser.add_argument("--rounds", type=int, default=3, help="measurements that medians are taken of")
    parser.add_argument("--text-tokens", type=int, default=125, help="length of a reply: about 10 s of sound")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where the demo model is kept")
    given = parser.parse_args(words)
    if unknown := set(given.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    options = Options(cache=given.cache, rounds=given.rounds, text_tokens=given.text_tokens)
    return given.names or list(BENCHMARKS), options


if __name__ == "__main__":
    sys.exit(main())
