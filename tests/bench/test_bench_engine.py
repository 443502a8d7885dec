"""The engine's benchmark, tried on the CPU with a tiny model: it must work on the day when there is a GPU."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.engine.__main__ import main
from bench.engine.findings import Figures, find_floor, list_claims, list_rows
from bench.engine.models import MODELS, read_config
from bench.engine.plots import list_plots
from bench.engine.records import Record
from bench.engine.speaking import find_underrun
from bench.engine.worker import PARTS


def run(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Its exit code and what it wrote."""
    places = ["--scratch", str(folder), "--out", str(folder / "out")]
    code = main(["--model", "tiny", "--device", "cpu", "--quick", *places, *words])
    return code, json.loads((folder / "out" / "engine-tiny.json").read_text())


def test_every_part_measures_something(tmp_path: Path) -> None:
    """In one process and in three, with transformers as the peer."""
    code, document = run(tmp_path)
    records = document["measured"]["records"]
    assert (code, document["measured"]["unfinished"]) == (0, [])
    assert {f"part {part}" for part in PARTS} <= {record["name"] for record in records}
    sound = [record["facts"] for record in records if record["name"] == "TTFA"]
    assert [(each["where"], each["turns"]) for each in sound] == [
        ("one process", 1),
        ("one process", 2),
        ("three processes", 1),
    ]
    (lengths,) = {record["facts"]["cut"] for record in records if record["name"] == "transformers, RTF"}
    assert lengths is False
    assert document["setup"]["versions"]["torch"]
    plots = {path.stem for path in (tmp_path / "out").glob("*.svg")}
    assert plots == {"ttfa-tiny", "rtf-tiny", "rate-tiny", "prompt-tiny"}


def test_a_part_that_takes_too_long_is_named_and_the_next_has_its_turn(tmp_path: Path) -> None:
    """What was measured before stays."""
    code, document = run(tmp_path, "--part", "roof", "--part", "thinker", "--part-seconds", "0.001")
    assert (code, document["measured"]["unfinished"]) == (1, ["roof", "thinker"])


@pytest.mark.parametrize("name", MODELS)
def test_shapes_are_the_published_ones_with_the_demos_tokens(name: str) -> None:
    """The demo's tokenizer has to know every token that the config names."""
    config = read_config(name)
    for text in (config.thinker_config, config.thinker_config.text_config, config.talker_config):
        tokens = {
            key: value
            for key, value in text.to_dict().items()
            if key.endswith(("token_id", "token_index")) and "codec" not in key and isinstance(value, int)
        }
        assert tokens
        assert max(tokens.values()) < 288
    sections = config.talker_config.rope_parameters["mrope_section"]
    assert 2 * sum(sections) == config.talker_config.head_dim


def record(name: str, value: float, unit: str = "ms", **facts: Any) -> Record:
    return Record(model="7B", part="any", name=name, value=value, unit=unit, facts=facts)


ROOF = [
    record("copy bandwidth, read and written", 3000.0, "GB/s"),
    record("matrix product", 800.0, "TFLOP/s"),
    record("thinker, matrices", 15.0, "GB"),
    record("thinker, products of a turn", 15.0, "GFLOP"),
]


@pytest.mark.parametrize(("turns", "floor_ms"), [(1, 5.0), (32, 5.0), (640, 12.0)])
def test_the_roof_is_the_higher_of_bytes_and_products(turns: int, floor_ms: float) -> None:
    """15 GB take 5 ms; 640 times 15 GFLOP take 12."""
    assert find_floor(Figures(ROOF), "thinker", turns) == pytest.approx(floor_ms)


def test_targets_are_judged_where_there_are_figures() -> None:
    """A part that is missing leaves its targets out, and its rows show that nothing is known."""
    found = [
        *ROOF,
        record("thinker", 100.0, "tok/s", turns=1),
        record("thinker, a step", 10.0, turns=1),
        record("TTFA", 50.0, turns=1, where="one process"),
        record("transformers, time to audio", 6000.0, turns=1),
        record("computing before sound", 40.0),
    ]
    claims = {claim.text: (claim.measured, claim.is_met) for claim in list_claims(Figures(found))}
    assert claims == {
        "times to first sound, times lower": (120.0, True),
        "TTFA over its computing": (1.25, False),
        "thinker against the roof, 1 turns": (0.5, False),
    }
    rows = {row[0]: row for row in list_rows(Figures(found))}
    assert rows["thinker tok/s, 1 turns"][1:] == ("100", "transformers -", "-")


def test_a_plot_shows_rates_and_not_the_times_that_have_their_name() -> None:
    found = [
        record("thinker", 100.0, "tok/s", turns=1),
        record("transformers, thinker", 50.0, "tok/s", turns=1),
        record("transformers, thinker", 8500.0, "ms", turns=1),
        record("transformers, thinker", 9000.0, "ms", turns=8),
    ]
    assert [line.points for line in list_plots(Figures(found))["rate"].lines] == [[(1, 100.0)], [(1, 50.0)]]


@pytest.mark.parametrize(
    ("sound", "underrun_s"),
    [
        pytest.param([(5.0, 24_000)], 0.0, id="one piece"),
        pytest.param([(5.0, 24_000), (5.5, 24_000), (7.0, 24_000)], 0.0, id="in time"),
        pytest.param([(5.0, 24_000), (6.25, 24_000), (7.0, 24_000)], 0.25, id="late once"),
    ],
)
def test_underrun_is_the_worst_lateness(sound: list[tuple[float, int]], underrun_s: float) -> None:
    """Of a player that starts at the first piece."""
    assert find_underrun(sound) == pytest.approx(underrun_s)
