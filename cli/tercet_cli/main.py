"""The `tercet` command: one line for each of its commands, which live in modules of their own.

A command that cannot go on raises CommandError; it is printed here, on stderr.
"""

import sys

import typer

from tercet_cli.bench import bench
from tercet_cli.chat import chat
from tercet_cli.errors import CommandError
from tercet_cli.fetch import fetch
from tercet_cli.render import render
from tercet_cli.termination import leave_message
from tercet_cli.up import up

app = typer.Typer(
    help="Real-time speech from Qwen2.5-Omni on Triton.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(up)
app.command()(render)
app.command()(fetch)
app.command()(chat)
app.command()(bench)


def main() -> None:
    try:
        app()
    except CommandError as error:
        typer.echo(f"tercet: {error}", err=True)
        leave_message(str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
