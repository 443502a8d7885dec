"""`tercet fetch`: bring a model here and print its folder.

Only the folder and, if asked for, the voices go to stdout, so that scripts can take them; progress goes to
stderr. The pods' init container runs it too.
"""

from pathlib import Path
from typing import Annotated

import typer

from tercet_cli.fetch_progress import say_aside, show_progress
from tercet_cli.hubs import DEFAULT_REVISION
from tercet_cli.links import link_folder
from tercet_cli.sources import DEFAULT_CACHE, resolve_source


def fetch(
    source: Annotated[str, typer.Argument(help="hf://owner/name, modelscope://owner/name, demo://tercet")],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = DEFAULT_REVISION,
    cache: Annotated[
        Path, typer.Option(envvar="TERCET_CACHE", help="Where models are kept.")
    ] = DEFAULT_CACHE,
    link: Annotated[
        Path | None, typer.Option(help="Make this path a link to the folder, in place of an older link.")
    ] = None,
    *,
    voices: Annotated[bool, typer.Option("--voices", help="Print its voices too, one a line.")] = False,
) -> None:
    """Download a model (or make a demo one), check it, and print its folder."""
    with show_progress(source) as progress:
        folder = resolve_source(source, revision, cache, progress, say=say_aside)
    if link is not None:
        link_folder(link, folder, cache)
    typer.echo(folder)
    if voices:
        for voice in _list_voices(folder):
            typer.echo(voice)


def _list_voices(folder: Path) -> list[str]:
    from tercet_engine.checkpoint import open_checkpoint  # noqa: PLC0415  # imports torch

    return list(open_checkpoint(folder).speakers)
