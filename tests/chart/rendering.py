"""helm and its friends as the chart's tests call them, and what comes out of `helm template` as objects."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "tercet"
CI_VALUES = sorted((CHART / "ci").glob("*.yaml"))
KUBE_BIN = Path(os.environ.get("KUBE_BIN") or Path.home() / ".cache/tercet/kube/v1.35.4/bin")
NAMESPACE = "speech"
TIMEOUT_S = 120

Manifest = dict[str, Any]


def find_program(name: str) -> str:
    built = KUBE_BIN / name
    found = str(built) if built.is_file() else shutil.which(name)
    assert found is not None, f"{name} is missing: run hack/kube/build-tools.sh; promtool is in `prometheus`"
    return found


def ask(*command: str | Path, document: str | None = None) -> subprocess.CompletedProcess[str]:
    program, *arguments = map(str, command)
    return subprocess.run(
        [find_program(program), *arguments],
        input=document,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )


def run(*command: str | Path, document: str | None = None) -> str:
    done = ask(*command, document=document)
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}"
    return done.stdout


def render_text(values: Path | Manifest | None = None) -> str:
    command = ("helm", "template", "tercet", CHART, "--namespace", NAMESPACE, "--values")
    if isinstance(values, Path):
        return run(*command, values)
    return run(*command, "-", document=json.dumps(values or {}))


def render(values: Path | Manifest | None = None) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(render_text(values)) if document]


def find(objects: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = (each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def iter_pods(objects: list[Manifest]) -> Iterator[Manifest]:
    """Pod specs."""
    for each in objects:
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"]
        elif each["kind"] == "Pod":
            yield each["spec"]
