"""What `tercet fetch` does in a pod: a fixed path, one fetch at a time, words for its log and its status."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from tercet_cli.errors import CommandError, SourceError
from tercet_cli.fetch_lock import hold_fetch_lock
from tercet_cli.fetch_progress import ProgressLines
from tercet_cli.links import link_folder
from tercet_cli.sources import find_default_cache
from tercet_cli.termination import leave_message

SOURCE = "hf://org/omni"
WAIT_S = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "cache" / "models" / "v1"
    path.mkdir(parents=True)
    return path


def test_a_link_inside_the_cache_holds_wherever_it_is_mounted(tmp_path: Path, folder: Path) -> None:
    """It is relative; its folder is made if need be."""
    link = tmp_path / "cache" / "links" / "served"
    link_folder(link, folder, tmp_path / "cache")
    assert os.readlink(link) == "../models/v1"
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "links" / "served").is_dir()


def test_a_link_elsewhere_names_the_whole_path(tmp_path: Path, folder: Path) -> None:
    """Folder and link may lie on different volumes."""
    link_folder(tmp_path / "served", folder, tmp_path / "cache")
    assert os.readlink(tmp_path / "served") == str(folder)


def test_a_newer_link_takes_the_place_of_the_old_one(tmp_path: Path, folder: Path) -> None:
    """And nothing else is left beside it."""
    cache, newer = tmp_path / "cache", folder.parent / "v2"
    newer.mkdir()
    for target in (folder, newer):
        link_folder(cache / "served", target, cache)
    assert (cache / "served").resolve() == newer
    assert sorted(path.name for path in cache.iterdir()) == ["models", "served"]


def test_a_folder_in_the_way_is_left_alone(tmp_path: Path, folder: Path) -> None:
    """The sentence names it."""
    (tmp_path / "served").mkdir()
    with pytest.raises(CommandError, match=r"--link .*/served: a folder is there"):
        link_folder(tmp_path / "served", folder, tmp_path / "cache")
    assert not (tmp_path / "served").is_symlink()


def test_a_link_that_cannot_be_made_says_why(tmp_path: Path, folder: Path) -> None:
    """A file stands where its folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match=r"cannot be made: .*: name another path"):
        link_folder(tmp_path / "file" / "served", folder, tmp_path / "cache")


HOLDER = """
import sys
from pathlib import Path
from tercet_cli.fetch_lock import hold_fetch_lock
with hold_fetch_lock(Path(sys.argv[1]), sys.argv[2], print):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(cache: Path) -> subprocess.Popen[str]:
    """Another process that fetches, until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(cache), SOURCE]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_fetch_waits_for_the_first(tmp_path: Path) -> None:
    """It says so once, and goes on when the first has ended."""
    said: list[str] = []
    waiting = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        waiting.set()

    def fetch() -> None:
        with hold_fetch_lock(tmp_path, SOURCE, say):
            said.append("fetched")

    with start_holder(tmp_path) as holder:
        second = threading.Thread(target=fetch)
        second.start()
        assert waiting.wait(WAIT_S)
        assert said == [f"{SOURCE}: another pod or process is fetching it into {tmp_path}; waiting"]
        holder.communicate()
    second.join(WAIT_S)
    assert said[1:] == ["fetched"]


def test_a_fetch_that_waits_too_long_gives_up(tmp_path: Path) -> None:
    """With a sentence, while the first goes on."""
    with start_holder(tmp_path) as holder:
        with (
            pytest.raises(SourceError, match="another fetch of it has taken over"),
            hold_fetch_lock(tmp_path, SOURCE, lambda _: None, limit_s=0),
        ):
            pass
        holder.communicate()


def test_a_cache_without_locks_is_used_all_the_same(tmp_path: Path) -> None:
    """What is wrong with it, the fetch itself will say."""
    with hold_fetch_lock(tmp_path / "absent", SOURCE, lambda _: None):
        pass


@pytest.mark.parametrize(
    ("reports", "lines"),
    [
        pytest.param(
            [(0, 0), (0, 0), (1, 20_000_000)],
            [f"{SOURCE}: 20.0 of 200.0 MB (10%), 20.0 MB/s"],
            id="each twentieth",
        ),
        pytest.param(
            [(1, 1_000_000), (4.9, 1_100_000), (5, 1_500_000)],
            [f"{SOURCE}: 1.5 of 200.0 MB (1%), 0.3 MB/s"],
            id="each five seconds",
        ),
        pytest.param([(1, 0), (60, 0)], [], id="none while no bytes come"),
        pytest.param(
            [(2, 199_000_000), (4, 200_000_000)],
            [
                f"{SOURCE}: 199.0 of 200.0 MB (100%), 99.5 MB/s",
                f"{SOURCE}: 200.0 of 200.0 MB (100%), 0.5 MB/s",
            ],
            id="the end",
        ),
    ],
)
def test_a_log_gets_lines_with_bytes_and_speed(reports: list[tuple[float, int]], lines: list[str]) -> None:
    """A few, however often the hub's client reports."""
    now, written = 0.0, list[str]()
    progress = ProgressLines(SOURCE, written.append, clock=lambda: now)
    for now, done in reports:  # noqa: B007  # read by the clock
        progress.show(done, 200_000_000)
    assert written == lines


def test_the_reason_is_left_for_the_pods_status(tmp_path: Path) -> None:
    """In place of what the container's last run left; where there is no such file, none is made."""
    (tmp_path / "log").write_text("an older and longer reason")
    leave_message("no space left", tmp_path / "log")
    leave_message("no space left", tmp_path / "absent")
    assert (tmp_path / "log").read_text() == "no space left"
    assert not (tmp_path / "absent").exists()


def test_a_user_without_name_and_home_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters may give a container any number as its user."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert find_default_cache() == Path(tempfile.gettempdir()) / ".cache" / "tercet"
