"""`tercet up` as a user meets it: it serves, it heals, and it leaves nothing behind."""

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.processes import list_regions, members, tritons, wait_gone
from tests.e2e.served import EXAMPLES, Served, serve, write_variant

ANSWER_S = 60
HEAL_S = 240


def ask(served: Served) -> httpx.Response:
    body = {"model": served.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
    return httpx.post(f"{served.url}/chat/completions", json=body, timeout=ANSWER_S)


@pytest.mark.parametrize("layout", ["colocated", "disaggregated"])
def test_both_layouts_serve(layout: str, request: pytest.FixtureRequest) -> None:
    """The same file, one word changed."""
    served: Served = request.getfixturevalue(layout)
    answer = ask(served)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]
    addresses = {address for stage in served.triton.values() for address in stage}
    assert len(addresses) == {"colocated": 1, "disaggregated": 3}[layout]


def test_metrics_are_where_it_says(colocated: Served) -> None:
    """The URL it prints answers."""
    assert "tercet" in httpx.get(colocated.metrics_url).text


@pytest.mark.timeout(900)  # three starts
def test_it_heals_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Kill -9 of Triton: it serves again. Kill -9 of the launcher: all its processes end too."""
    file = write_variant(tmp_path / "omni.yaml")
    with serve(file, tmp_path / "run") as served:
        (triton,) = tritons(served.process.pid)
        regions = list_regions(triton)
        triton.kill()
        deadline = time.monotonic() + HEAL_S
        while ask(served).status_code != 200:
            assert time.monotonic() < deadline, "it did not heal"
        regions |= list_regions(*tritons(served.process.pid))
        processes = members(served.process.pid)
        served.process.kill()
        wait_gone(processes)
    assert len(regions) == 6  # of three stages, twice
    assert [region for region in regions if region.exists()] == []


def test_it_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    """A service manager's SIGTERM: it ends well, and so does what it had begun."""
    command = [sys.executable, "-m", "tercet_cli.main", "up", str(EXAMPLES / "demo.yaml")]
    options = ["--log-dir", str(tmp_path / "run"), "--port", "0", "--metrics-port", "0"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        next(line for line in launcher.stdout if line.endswith("is ready\n"))
        begun = members(launcher.pid)
        launcher.terminate()
        assert launcher.wait(HEAL_S) == 0
    assert begun
    wait_gone(begun)


def test_a_stage_that_cannot_load_is_shown_with_its_log(tmp_path: Path) -> None:
    """Too little memory for one KV block: the launcher ends, and says why."""
    stages = {"thinker": {"kvMemory": "1"}}
    file = write_variant(tmp_path / "omni.yaml", stages=stages)
    command = [sys.executable, "-m", "tercet_cli.main", "up", str(file), "--log-dir", str(tmp_path / "run")]
    ended = subprocess.run(
        [*command, "--port", "0", "--metrics-port", "0"],
        capture_output=True,
        text=True,
        timeout=HEAL_S,
        check=False,
    )
    assert ended.returncode == 1
    assert "KV memory" in ended.stderr
    assert "before it was ready" in ended.stderr
