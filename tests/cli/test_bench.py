"""`tercet bench` against a gateway of paper."""

import json
from pathlib import Path

import typer
from tercet_cli.bench import bench
from tercet_cli.errors import CommandError
from typer.testing import CliRunner, Result

from tests.cli.conftest import PaperGateway


def _run(*words: str) -> Result:
    app = typer.Typer()
    app.command()(bench)
    return CliRunner().invoke(app, [*words])


def test_all_turns_are_run_and_measured(gateway: PaperGateway, tmp_path: Path) -> None:
    """Seven turns, three at once at most, one warm-up before that does not count."""
    path = tmp_path / "figures.json"
    result = _run(gateway.url, "--turns", "3", "--requests", "7", "--max-tokens", "9", "--json", str(path))
    assert result.exit_code == 0, result.output
    assert len(gateway.asked) == 8
    assert gateway.most_at_once <= 3
    assert {body["max_completion_tokens"] for body in gateway.asked} == {9}
    document = json.loads(path.read_text())
    assert (document["model"], document["requests"], document["failures"]) == ("demo", 7, [])
    assert [turn["text_tokens"] for turn in document["turns"]] == [20] * 7
    assert [round(turn["audio_s"], 3) for turn in document["turns"]] == [0.1] * 7
    assert 0 < document["spreads"]["ttft_s"]["p50"] <= document["spreads"]["ttfa_s"]["p99"]


def test_the_table_shows_each_figure(gateway: PaperGateway) -> None:
    """With the percentiles as columns."""
    output = _run(gateway.url, "--requests", "2").stdout
    for word in ("p50", "p95", "p99", "TTFT", "TTFA", "RTF", "underrun", "tok/s"):
        assert word in output


def test_a_server_without_sound_is_reported_as_that(gateway: PaperGateway) -> None:
    """Its text is measured all the same."""
    gateway.script = lambda _: [{"choices": [{"delta": {"content": "Hi"}}]}]
    result = _run(gateway.url, "--requests", "2")
    assert result.exit_code == 0
    assert "no sound came in delta.audio" in result.stdout
    assert "TTFA" not in result.stdout


def test_text_only_asks_for_no_speech(gateway: PaperGateway) -> None:
    """The request names no audio."""
    _run(gateway.url, "--requests", "1", "--warm-up", "0", "--text-only")
    assert ["audio" in body for body in gateway.asked] == [False]


def test_some_failures_are_counted(gateway: PaperGateway, tmp_path: Path) -> None:
    """The rest is measured; the first failure is shown."""
    broken = {"error": {"message": "stage lost"}}
    gateway.script = lambda _: (
        [broken] if len(gateway.asked) == 3 else [{"choices": [{"delta": {"content": "Hi"}}]}]
    )
    path = tmp_path / "figures.json"
    result = _run(gateway.url, "--requests", "4", "--json", str(path))
    assert "1 turns failed, the first: the server broke the reply off: stage lost" in result.stdout
    assert len(json.loads(path.read_text())["failures"]) == 1


def test_a_server_that_refuses_all_is_an_error(gateway: PaperGateway) -> None:
    """One line, its own words."""
    gateway.status = 503
    result = _run(gateway.url)
    assert isinstance(result.exception, CommandError)
    assert str(result.exception) == "the server answered 503: the voice is not known"
