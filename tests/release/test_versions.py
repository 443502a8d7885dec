"""The version stands in pyproject.toml; whoever repeats it says the same."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
TAGGED = re.compile(
    r"(?:tercet/(?:operator|gateway|engine|engine-cpu):|\$image:|TERCET_VERSION:-)(\d+\.\d+\.\d+)"
)
PLACES = ("compose.yaml", "docs/install.md", "docs/operator.md", "operator/tercet_operator/settings.py")
"""Those that a user meets; tests' golden files have it too."""


def list_files(root: Path) -> list[Path]:
    """Those of the next commit: what git ignores is none of the tree's."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True)
    return [root / name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def read_tags(root: Path, files: list[Path]) -> Mapping[str, set[str]]:
    """Versions in each file that names an image with its tag."""
    found = {
        str(path.relative_to(root)): set(TAGGED.findall(path.read_text(errors="replace"))) for path in files
    }
    return {path: versions for path, versions in found.items() if versions}


def test_every_image_is_named_with_this_version() -> None:
    """In code, docs, golden files and compose.yaml; hack/version.sh changes them all."""
    tags = read_tags(ROOT, list_files(ROOT))
    assert set(PLACES) <= set(tags)
    assert {path: versions for path, versions in tags.items() if versions != {VERSION}} == {}


def test_the_chart_has_this_version() -> None:
    """Its own and that of its images."""
    chart = yaml.safe_load((ROOT / "charts/tercet/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_a_new_version_is_written_everywhere(tmp_path: Path) -> None:
    """hack/version.sh forgets no place that the tests above know."""
    files = ["pyproject.toml", "charts/tercet/Chart.yaml", "hack/version.sh", *PLACES]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    subprocess.run("git init --quiet && git add .", shell=True, cwd=tmp_path, check=True)
    subprocess.run(["hack/version.sh", "7.8.9"], cwd=tmp_path, check=True, capture_output=True)
    tags = read_tags(tmp_path, [tmp_path / name for name in PLACES])
    assert tags == {name: {"7.8.9"} for name in PLACES}
    chart = yaml.safe_load((tmp_path / "charts/tercet/Chart.yaml").read_text())
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    assert {chart["version"], chart["appVersion"], project["version"]} == {"7.8.9"}
