"""`tercet bench`: many turns at once against any OpenAI-shaped server, and what their listeners feel.

Works against the gateway and against other servers; one that does not stream `delta.audio` is reported as
text only.
"""

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table

from tercet_cli.chat import DEFAULT_URL
from tercet_cli.errors import CommandError
from tercet_cli.measuring import Run, measure_run
from tercet_cli.servers import Request, Server, find_model
from tercet_cli.timings import FIGURES, summarize

DEFAULT_PROMPT: Final = "Tell me about the sea, the wind and the sky."


def bench(  # noqa: PLR0913, PLR0917  # a command's options
    url: Annotated[str, typer.Argument(help="Any OpenAI-shaped server.")] = DEFAULT_URL,
    turns: Annotated[int, typer.Option(min=1, help="Turns at once.")] = 1,
    requests: Annotated[int, typer.Option(min=1, help="Turns in all.")] = 10,
    warm_up: Annotated[int, typer.Option(min=0, help="Turns before that are not counted.")] = 1,
    model: Annotated[str | None, typer.Option(help="Model name; else the first one offered.")] = None,
    voice: Annotated[str | None, typer.Option(help="Voice of the replies; else the deployment's.")] = None,
    text_only: Annotated[bool, typer.Option("--text-only", help="Ask for no speech.")] = False,
    prompt: Annotated[str, typer.Option(help="What each turn asks.")] = DEFAULT_PROMPT,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest text of a reply.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
    key: Annotated[str | None, typer.Option(envvar="TERCET_API_KEY", help="API key.")] = None,
) -> None:
    """Measure time to first text and sound, real-time factor, underruns and speed."""
    server = Server(url=url, key=key)
    request = Request(
        model=find_model(server, model),
        messages=[{"role": "user", "content": prompt}],
        speech=not text_only,
        voice=voice,
        max_tokens=max_tokens,
    )
    run = asyncio.run(_measure(server, request, turns, requests, warm_up))
    _show(run, f"{request.model} at {url}, {turns} at once")
    if json_file is not None:
        _write(json_file, report(run, url=url, model=request.model, at_once=turns, prompt=prompt))


async def _measure(server: Server, request: Request, at_once: int, requests: int, warm_up: int) -> Run:
    if warm_up:
        await measure_run(server, [request] * warm_up, at_once=min(at_once, warm_up))
    with Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True)
    ) as bars:
        task = bars.add_task("turns", total=requests)
        return await measure_run(
            server, [request] * requests, at_once=at_once, on_turn=lambda: bars.advance(task)
        )


def report(run: Run, **conditions: object) -> dict[str, Any]:
    """Build the JSON document: conditions, spreads, and every turn for those who want to look closer."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        **conditions,
        "requests": len(run.turns) + len(run.failures),
        "failures": run.failures,
        "wall_s": run.wall_s,
        "text_tokens_per_s": run.text_tokens / run.wall_s,
        "audio_s_per_s": run.audio_s / run.wall_s,
        "spreads": {key: spread and asdict(spread) for key, spread in summarize(run.turns).items()},
        "turns": [asdict(turn) for turn in run.turns],
    }


def _show(run: Run, title: str) -> None:
    table = Table("figure", "p50", "p95", "p99", title=title)
    spreads = summarize(run.turns)
    for figure in FIGURES:
        if found := spreads[figure.key]:
            table.add_row(figure.heading, *(f"{value:.3f}" for value in (found.p50, found.p95, found.p99)))
    console = Console()
    console.print(table)
    console.print(
        f"{len(run.turns)} turns in {run.wall_s:.1f} s: {run.text_tokens / run.wall_s:.1f} tok/s and "
        f"{run.audio_s / run.wall_s:.2f} s of speech a second, all turns together"
    )
    if not run.audio_s:
        console.print("no sound came in delta.audio")
    if run.failures:
        console.print(f"{len(run.failures)} turns failed, the first: {run.failures[0]}", markup=False)


def _write(path: Path, document: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(document, indent=2) + "\n")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
