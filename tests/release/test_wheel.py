"""A wheel of Tercet is whole: every package, every model, and the command."""

import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

from tests.release.conftest import ROOT
from tests.release.test_versions import VERSION, list_files

FOLDERS = ("wire", "engine", "host", "gateway", "operator", "cli")


def list_names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as opened:
        return set(opened.namelist())


def test_it_holds_every_module_and_model(wheel: Path) -> None:
    """All that the packages' folders have, the models where the command looks for them, no more."""
    files = [path.relative_to(ROOT) for path in list_files(ROOT)]
    modules = {path.relative_to(path.parts[0]) for path in files if path.parts[0] in FOLDERS}
    models = {"tercet_cli" / path for path in files if path.parts[0] == "model_repo"}
    names = {name for name in list_names(wheel) if ".dist-info/" not in name}
    assert names == {str(path) for path in modules | models}


def test_it_says_what_it_is(wheel: Path) -> None:
    """Version, licence and what each deployable needs, in its metadata."""
    with ZipFile(wheel) as opened:
        text = opened.read(f"tercet-{VERSION}.dist-info/METADATA").decode()
        licence = opened.read(f"tercet-{VERSION}.dist-info/licenses/LICENSE")
    metadata = Parser().parsestr(text)
    assert (metadata["Version"], metadata["License-Expression"]) == (VERSION, "Apache-2.0")
    assert {"gateway", "engine", "operator", "cli", "triton"} <= set(metadata.get_all("Provides-Extra", []))
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_the_installed_command_plans_a_deployment_from_its_own_files(wheel: Path, tmp_path: Path) -> None:
    """Modules and models come out of the wheel, not out of this checkout."""
    with ZipFile(wheel) as opened:
        opened.extractall(tmp_path)
    program = (
        "import sys; from tercet_cli.local_deployment import find_model_repository as find; "
        "from tercet_cli.main import main; print(find()); main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, "render", ROOT / "examples" / "demo.yaml"],
        env={"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    first, _, manifests = ran.stdout.partition("\n")
    assert first == str(tmp_path / "tercet_cli" / "model_repo")
    assert f"tercet/engine-cpu:{VERSION}" in manifests
