"""All benchmarks by name, in the order they are run.

Read by `__main__`. Each is imported only when it runs, in a process of its own: their libraries differ.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tercet_cli.sources import resolve_source

from bench.reports import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    cache: Path
    rounds: int
    text_tokens: int

    @property
    def checkpoint(self) -> Path:
        return resolve_source("demo://bench", cache_root=self.cache)


def _run_against_transformers(options: Options) -> Report:
    from bench import against_transformers

    return against_transformers.run(options.cache, rounds=options.rounds, text_tokens=options.text_tokens)


def _run_seam(options: Options) -> Report:
    from bench import seam

    return seam.run(options.cache, rounds=options.rounds, text_tokens=options.text_tokens)


def _run_code2wav(options: Options) -> Report:
    from bench import code2wav

    return code2wav.run(options.checkpoint, options.rounds)


def _run_windows(options: Options) -> Report:
    from bench import windows

    return windows.run(options.checkpoint, seconds=5.0)


def _run_decoder(options: Options) -> Report:
    from bench import decoder

    return decoder.run(options.checkpoint, rounds=options.rounds)


def _run_decoder_bfloat16(options: Options) -> Report:
    from bench import decoder

    return decoder.run(options.checkpoint, rounds=options.rounds, dtype="bfloat16")


def _run_schedule(options: Options) -> Report:
    from bench import schedule

    return schedule.run(schedule.SECONDS)


def _run_kv_memory(options: Options) -> Report:
    del options
    from bench import kv_memory

    return kv_memory.run()


BENCHMARKS: Final[dict[str, Callable[[Options], Report]]] = {
    "against_transformers": _run_against_transformers,
    "seam": _run_seam,
    "code2wav": _run_code2wav,
    "windows": _run_windows,
    "decoder": _run_decoder,
    "decoder_bfloat16": _run_decoder_bfloat16,
    "schedule": _run_schedule,
    "kv_memory": _run_kv_memory,
}
