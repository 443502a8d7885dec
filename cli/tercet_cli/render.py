"""`tercet render omni.yaml`: what the operator would make of the file, without a cluster or against one.

The manifests come from the operator's own builders. With `--diff` nothing is written either: the objects of
the cluster that kubectl would talk to are read and compared.
"""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from tercet_operator.settings import Images
from tercet_wire.spec import OmniDeployment

from tercet_cli.deployment_file import read_deployment
from tercet_cli.errors import CommandError, ComparisonError

if TYPE_CHECKING:
    from tercet_cli.differences import Change

_DIFFERS: Final = 1
_SIGNS: Final = {"create": "+", "change": "~", "delete": "-"}
_COLORS: Final = {"+": typer.colors.GREEN, "-": typer.colors.RED, "~": typer.colors.YELLOW}


def render(
    file: Annotated[Path, typer.Argument(help="The OmniDeployment, such as examples/omni-demo.yaml.")],
    *,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Default: the file's, else kubectl's (--diff), else default."),
    ] = None,
    image: Annotated[str, typer.Option(help="What servers with GPUs run.")] = Images().engine,
    image_cpu: Annotated[str, typer.Option(help="What servers without GPUs run.")] = Images().engine_cpu,
    diff: Annotated[
        bool,
        typer.Option(
            "--diff", help="Show what would change in the cluster; exit with 0: nothing, 1: something."
        ),
    ] = False,
) -> None:
    """Print the manifests that the operator makes of a deployment, or what they would change."""
    images = Images(engine=image, engine_cpu=image_cpu)
    if not diff:
        typer.echo(_render(read_deployment(file), namespace, images), nl=False)
        return
    try:
        changes = _compare(read_deployment(file), namespace, images)
    except CommandError as error:
        raise ComparisonError(str(error)) from error
    for change in changes:
        _show(change)
    typer.echo(_sum_up(changes), err=True)
    if changes:
        sys.exit(_DIFFERS)


# The operator's planner and the cluster's client take a second to import: only this command pays for them,
# and the servers' image, which runs `tercet fetch`, has no client.


def _render(deployment: OmniDeployment, namespace: str | None, images: Images) -> str:
    from tercet_operator.plan import render_children  # noqa: PLC0415
    from tercet_operator.resources.naming import Owner  # noqa: PLC0415

    from tercet_cli.manifests import write_manifests  # noqa: PLC0415

    metadata = deployment.metadata
    owner = Owner(namespace=namespace or metadata.namespace, name=metadata.name)
    return write_manifests(render_children(deployment, owner, images))


def _compare(deployment: OmniDeployment, namespace: str | None, images: Images) -> list["Change"]:
    from tercet_operator.plan import render_children  # noqa: PLC0415
    from tercet_operator.resources.naming import Owner  # noqa: PLC0415

    from tercet_cli.current_cluster import read_deployed  # noqa: PLC0415
    from tercet_cli.differences import compare  # noqa: PLC0415

    metadata = deployment.metadata
    given = namespace or (metadata.namespace if "namespace" in metadata.model_fields_set else None)
    deployed = asyncio.run(read_deployed(metadata.name, given))
    owner = Owner(namespace=deployed.namespace, name=metadata.name, uid=deployed.uid)
    return compare(render_children(deployment, owner, images), deployed.children)


def _show(change: "Change") -> None:
    sign = _SIGNS[change.verb]
    replaced = f", in place of {change.predecessor}" if change.predecessor else ""
    typer.secho(f"{sign} {change.verb} {change.kind} {change.name}{replaced}", fg=_COLORS[sign], bold=True)
    for line in change.lines:
        typer.secho(f"    {line}", fg=_COLORS.get(line[0]))


def _sum_up(changes: list["Change"]) -> str:
    counts = {verb: sum(change.verb == verb for change in changes) for verb in _SIGNS}
    return ", ".join(f"{count} to {verb}" for verb, count in counts.items() if count) or "No difference."
