"""`tercet fetch`: bring a model here and print its folder.

Only the folder and, if asked for, the voices go to stdout, so that scripts can take them; progress goes to
stderr.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from tercet_cli.hubs import DEFAULT_REVISION
from tercet_cli.sources import DEFAULT_CACHE, resolve_source


def fetch(
    source: Annotated[str, typer.Argument(help="hf://owner/name, modelscope://owner/name, demo://tiny ...")],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = DEFAULT_REVISION,
    cache: Annotated[
        Path, typer.Option(envvar="TERCET_CACHE", help="Where models are kept.")
    ] = DEFAULT_CACHE,
    *,
    voices: Annotated[bool, typer.Option("--voices", help="Print its voices too, one a line.")] = False,
) -> None:
    """Download a model (or make a demo one), check it, and print its folder."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bars = Progress(*columns, console=Console(stderr=True))
    task = bars.add_task(source, total=None)

    def show(done: int, total: int) -> None:
        bars.start()
        bars.update(task, completed=done, total=total)

    try:
        folder = resolve_source(source, revision, cache, show)
    finally:
        bars.stop()
    typer.echo(folder)
    if voices:
        for voice in _list_voices(folder):
            typer.echo(voice)


def _list_voices(folder: Path) -> list[str]:
    from tercet_engine.checkpoint import open_checkpoint  # noqa: PLC0415  # imports torch

    return list(open_checkpoint(folder).speakers)
