"""From a source to a checked folder, or to a sentence that says what to do."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer
from tercet_cli.errors import SourceError
from tercet_cli.fetch import fetch
from tercet_cli.hubs import Progress
from tercet_cli.sources import resolve_source
from typer.testing import CliRunner


@dataclass(slots=True)
class PaperHub:
    """Hands out one folder and remembers what was asked."""

    folder: Path
    asked: list[tuple[str, str, Path]] = field(default_factory=list)

    def download(self, repository: str, revision: str, cache: Path, progress: Progress) -> Path:
        self.asked.append((repository, revision, cache))
        progress(1, 2)
        return self.folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the tiny demo model."""
    root = tmp_path_factory.mktemp("models")
    resolve_source("demo://tiny", cache_root=root)
    return root


@pytest.fixture
def tiny(cache: Path) -> Path:
    return resolve_source("demo://tiny", cache_root=cache)


def test_a_demo_is_made_once(cache: Path, tiny: Path) -> None:
    """The second call finds the first one's folder."""
    written = (tiny / "config.json").stat().st_mtime_ns
    assert resolve_source("demo://tiny", cache_root=cache) == tiny
    assert (tiny / "config.json").stat().st_mtime_ns == written


def test_a_local_folder_is_taken_as_it_is(tiny: Path) -> None:
    """file:// copies nothing."""
    assert resolve_source(f"file://{tiny}") == tiny


@pytest.mark.parametrize("scheme", ["hf", "modelscope"])
def test_a_hub_is_asked_for_the_pinned_revision(scheme: str, tiny: Path, tmp_path: Path) -> None:
    """Repository and revision as written; progress goes to the caller; the result is checked."""
    hub, seen = PaperHub(tiny), list[tuple[int, int]]()
    folder = resolve_source(
        f"{scheme}://org/omni", "v1", tmp_path / "new", lambda *counts: seen.append(counts), {scheme: hub}
    )
    assert folder == tiny
    assert hub.asked == [("org/omni", "v1", tmp_path / "new")]
    assert seen == [(1, 2)]


def test_an_incomplete_download_is_refused_by_file(tiny: Path, tmp_path: Path) -> None:
    """What is missing is named with the source it came from."""
    shutil.copytree(tiny, tmp_path / "broken")
    (tmp_path / "broken" / "spk_dict.pt").unlink()
    with pytest.raises(SourceError, match=r"hf://org/omni.*(?s:.)*spk_dict\.pt"):
        resolve_source("hf://org/omni", cache_root=tmp_path, hubs={"hf": PaperHub(tmp_path / "broken")})


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hf://omni", "owner/name"),
        ("hf://a/b/c", "owner/name"),
        ("modelscope://a/", "owner/name"),
        ("file://models", "must be absolute"),
        ("file:///no/such/folder", "no such folder"),
        ("pvc://claim/path", "exists only in a cluster"),
        ("demo://huge", "demo://tercet, demo://tiny, demo://bench"),
        ("s3://bucket/key", "unknown source"),
        ("just-a-name", "unknown source"),
    ],
)
def test_a_source_that_cannot_be_had_says_what_to_do(source: str, words: str, tmp_path: Path) -> None:
    """One sentence, the source in it."""
    with pytest.raises(SourceError, match=words) as caught:
        resolve_source(source, cache_root=tmp_path)
    assert str(caught.value).startswith(source)


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """With the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="Not a directory: choose another"):
        resolve_source("demo://tiny", cache_root=tmp_path / "file" / "models")


def test_fetch_prints_the_voices_if_asked(cache: Path, tiny: Path) -> None:
    """After the folder, by the names that requests use."""
    app = typer.Typer()
    app.command()(fetch)
    result = CliRunner().invoke(app, ["demo://tiny", "--cache", str(cache), "--voices"])
    assert result.stdout.splitlines() == [str(tiny), "Chelsie", "Ethan"]


def test_fetch_prints_the_folder_alone(cache: Path, tiny: Path) -> None:
    """So that `$(tercet fetch ...)` can be used in a script."""
    app = typer.Typer()
    app.command()(fetch)
    result = CliRunner().invoke(app, ["demo://tiny", "--cache", str(cache)])
    assert result.stdout == f"{tiny}\n"
