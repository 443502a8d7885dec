"""hack/release.sh on small repositories: what it refuses, and what it leaves in dist/."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.release.conftest import ROOT
from tests.release.test_versions import VERSION, list_files

GIT = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
}
STAND_INS = {
    "helm": 'while [ "$1" != --destination ]; do shift; done; echo chart > "$2/tercet-$VERSION.tgz"',
    "syft": 'while [ "$1" != --output ]; do shift; done; echo "{}" > "${2#cyclonedx-json=}"',
}
"""For programs that a fresh machine lacks: they leave the file that is asked of them."""
USUAL = ("bash", "date", "dirname", "env", "git", "grep", "realpath", "sed")
"""What every machine has that works on this tree."""


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        **GIT,
        "VERSION": VERSION,
        "HOME": str(folder.parent),
        "VENV": str(Path(sys.executable).parents[1]),
    }
    return subprocess.run(
        command, cwd=folder, env=env | environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A commit of this tree with an entry for its version."""
    folder = tmp_path / "repository"
    for path in list_files(ROOT):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n## {VERSION} - 2026-01-02\n")
    run(folder, "sh", "-c", "git init --quiet && git add . && git commit --quiet --message all")
    return folder


@pytest.fixture
def tools(tmp_path: Path) -> str:
    """A PATH that begins with the stand-ins."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, script in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_a_dirty_tree_is_refused(repository: Path, tools: str) -> None:
    """What is released must be in the history."""
    (repository / "new.txt").write_text("new")
    ran = run(repository, "hack/release.sh", "--no-images", PATH=tools)
    assert ran.returncode == 1
    assert "changes that are not committed" in ran.stderr


def test_a_version_without_an_entry_is_refused(repository: Path, tools: str) -> None:
    """With the heading to write."""
    (repository / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    run(repository, "git", "commit", "--quiet", "--all", "--message", "Unreleased")
    ran = run(repository, "hack/release.sh", "--no-images", PATH=tools)
    assert ran.returncode == 1
    assert (
        f'CHANGELOG.md has no entry for {VERSION}: turn "## Unreleased" into "## {VERSION} - ' in ran.stderr
    )


def test_a_version_that_is_out_is_refused(repository: Path, tools: str) -> None:
    """Its tag names another commit."""
    run(repository, "git", "tag", f"v{VERSION}")
    run(repository, "git", "commit", "--quiet", "--allow-empty", "--message", "later")
    ran = run(repository, "hack/release.sh", "--no-images", PATH=tools)
    assert ran.returncode == 1
    assert f"v{VERSION} is the tag of another commit" in ran.stderr


@pytest.mark.parametrize(("missing", "advice"), [("helm", "build-tools.sh"), ("syft", "go install")])
def test_a_missing_program_is_named_with_its_source(
    repository: Path, tools: str, missing: str, advice: str
) -> None:
    """Before anything is built."""
    folder, _, path = tools.partition(":")
    (Path(folder) / missing).unlink()
    for name in USUAL:
        (Path(folder) / name).symlink_to(shutil.which(name, path=path) or name)
    ran = run(repository, "hack/release.sh", "--no-images", PATH=folder)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"release.sh: {missing} not found: ")
    assert advice in ran.stderr
    assert not (repository / "dist").exists()


def test_the_sums_are_of_all_that_is_released(repository: Path, tools: str) -> None:
    """And wheel and sdist are the same bytes a second time."""
    first, second = (release(repository, tools) for _ in range(2))
    assert sorted(first) == [
        f"tercet-{VERSION}-py3-none-any.whl",
        f"tercet-{VERSION}.cdx.json",
        f"tercet-{VERSION}.tar.gz",
        f"tercet-chart-{VERSION}.tgz",
    ]
    assert first == second


def release(repository: Path, tools: str) -> dict[str, str]:
    """Sums by name, once they are seen to be right."""
    ran = run(repository, "hack/release.sh", "--no-images", PATH=tools)
    assert ran.returncode == 0, ran.stderr
    dist = repository / "dist"
    lines = (line.split() for line in (dist / "SHA256SUMS").read_text().splitlines())
    sums = {name: digest for digest, name in lines}
    assert set(sums) == {path.name for path in dist.iterdir()} - {"SHA256SUMS"}
    assert sums == {name: hashlib.sha256((dist / name).read_bytes()).hexdigest() for name in sums}
    return sums
