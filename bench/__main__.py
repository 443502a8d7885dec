"""`python -m bench [NAME ...]`: run the benchmarks, print their tables, write bench/results/NAME.json."""

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from rich.console import Console
from tercet_cli.errors import CommandError
from tercet_cli.sources import DEFAULT_CACHE

from bench import against_transformers, seam
from bench.machine import describe_machine
from bench.product import ProductError
from bench.reports import Report, print_report, write_report

RESULTS: Final = Path(__file__).parent / "results"
BENCHMARKS: Final[dict[str, Callable[..., Report]]] = {
    "against_transformers": against_transformers.run,
    "seam": seam.run,
}


def main(words: Sequence[str] | None = None) -> int:
    """Exit with 1 when a claim is not met or a benchmark could not run."""
    options = _parse(words)
    console = Console()
    setup = describe_machine()
    console.print(f"{setup['processor']}, {setup['cores']} cores, commit {setup['commit']}", highlight=False)
    met = True
    for name in options.names or BENCHMARKS:
        try:
            report = _run_apart(name, options)
        except (CommandError, ProductError) as error:
            console.print(f"{name}: {error}", markup=False)
            return 1
        print_report(report, console)
        console.print(f"written to {write_report(report, setup, RESULTS)}", highlight=False)
        met = met and all(claim.is_met for claim in report.claims)
    return 0 if met else 1


def _run_apart(name: str, options: argparse.Namespace) -> Report:
    """In a process of its own, so that threads and memory of one benchmark do not tell on the next."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as executor:
        return executor.submit(
            BENCHMARKS[name], options.cache, rounds=options.rounds, text_tokens=options.text_tokens
        ).result()


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; else all")
    parser.add_argument("--rounds", type=int, default=5, help="measurements that medians are taken of")
    parser.add_argument("--text-tokens", type=int, default=125, help="length of a reply: about 10 s of sound")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where the demo model is kept")
    options = parser.parse_args(words)
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
