"""docs/sizing.md shows what the code computes, and the code computes what the engine does."""

import gc
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tercet_engine.checkpoint import Checkpoint, open_checkpoint
from tercet_engine.code2wav import stage as code2wav_stage
from tercet_engine.code2wav.admission import StepCost
from tercet_engine.code2wav.stage import load_code2wav
from tercet_engine.decoder.shape import read_shape
from tercet_engine.demo import ensure_demo
from tercet_engine.demo.sizes import SIZES, build_config
from tercet_engine.talker import load_talker
from tercet_engine.thinker import load_thinker
from tercet_wire.names import Stage
from tercet_wire.settings import StageSettings

from bench.architecture import Values, count_values
from bench.layouts import EXAMPLES, FILES, render_layouts
from bench.sizing import FULL, Model, past_bytes, read_models, render_tables

PAGE = Path(__file__).parents[2] / "docs" / "sizing.md"
LAYOUTS = PAGE.with_name("gpu-layouts.md")
LOADERS: dict[Stage, Callable[[StageSettings], Any]] = {
    Stage.THINKER: load_thinker,
    Stage.TALKER: load_talker,
    Stage.CODE2WAV: load_code2wav,
}
KV_BYTES = 2**20
EXTRAS = 256 * 2**10
"""Rotary tables, sinusoids, filters and modulations of the demo, which the figures leave out."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(ensure_demo("tiny", tmp_path_factory.mktemp("demo")))


@pytest.fixture(scope="module")
def demo() -> Values:
    return count_values(build_config(SIZES["tiny"]))


@pytest.fixture(scope="module")
def models() -> tuple[Model, ...]:
    return read_models()


def read_placed() -> dict[int, int]:
    """Bytes of each memory that is on the meta device now."""
    gc.collect()
    with warnings.catch_warnings(action="ignore"):  # some modules warn of being looked at
        tensors = [each for each in gc.get_objects() if isinstance(each, torch.Tensor)]
    storages = (each.untyped_storage() for each in tensors if each.device.type == "meta")
    return {storage._cdata: storage.nbytes() for storage in storages}


@pytest.mark.parametrize("stage", Stage)
def test_a_stage_puts_on_its_device_what_is_counted(
    stage: Stage, checkpoint: Checkpoint, demo: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's own load, onto a device without memory, which can make no steps to rehearse."""
    monkeypatch.setattr(code2wav_stage, "rehearse", lambda *_: StepCost())
    settings = StageSettings(
        stage=stage,
        checkpoint=str(checkpoint.folder),
        dtype="float32",
        devices=("meta",),
        threads=1,
        kv_bytes=KV_BYTES,
    )
    before = read_placed()
    engine = LOADERS[stage](settings)
    placed = sum(size for memory, size in read_placed().items() if memory not in before)
    engine.shutdown()
    counted = demo.on_device[stage] * FULL
    kept = 0 if stage is Stage.CODE2WAV else KV_BYTES
    assert counted <= placed <= counted + kept + EXTRAS


def test_files_hold_what_is_counted(checkpoint: Checkpoint, demo: Values) -> None:
    """Number by number, in the demo's checkpoint, which has the published layout."""
    prefixes = {Stage.THINKER: "thinker.", Stage.TALKER: "talker.", Stage.CODE2WAV: "token2wav."}
    held = {
        stage: sum(each.numel() for each in checkpoint.load(prefix).values())
        for stage, prefix in prefixes.items()
    }
    assert demo.in_files == held


def test_published_totals(models: tuple[Model, ...]) -> None:
    """10.7 and 5.5 thousand million parameters, as their pages say."""
    totals = {model.name: sum(model.values.in_files.values()) for model in models}
    assert {name: round(total / 1e9, 1) for name, total in totals.items()} == {"7B": 10.7, "3B": 5.5}


def test_what_a_turn_reserves(models: tuple[Model, ...]) -> None:
    """Prompt and reply in the thinker; prompt, speaker and codes in the talker; one state in code2wav."""
    large = models[0]
    assert large.token_bytes(Stage.THINKER) == 28 * 2 * 4 * 128 * 2
    assert large.turn_bytes(Stage.THINKER, 512) == (512 + 1024) * large.token_bytes(Stage.THINKER)
    assert large.turn_bytes(Stage.TALKER, 512) == (512 + 2 + 4095) * large.token_bytes(Stage.TALKER)
    assert large.turn_bytes(Stage.CODE2WAV, 512) == 36 * 2 * 2 * 24 * 2 * 1024 * 4


def test_the_state_of_code2wav_is_the_engines(checkpoint: Checkpoint) -> None:
    """Of the shape that the DiT keeps for every evaluation."""
    dit = checkpoint.config.token2wav_config.dit_config
    head = dit.hidden_size // dit.num_attention_heads
    kept = torch.empty(36, len(dit.look_backward_layers), 2, 24, 2, dit.num_attention_heads, head)
    assert past_bytes(dit) == kept.nbytes
    assert read_shape(checkpoint.config.talker_config).kv_values == 2 * 2 * 2 * 32


def test_the_page_shows_what_is_printed(models: tuple[Model, ...]) -> None:
    """Table by table, as `python -m bench.sizing` prints them."""
    page = PAGE.read_text()
    tables = re.split(r"\n\n(?=\*\*)", render_tables(models))
    assert len(tables) == 5
    assert [table for table in tables if table not in page] == []


def test_the_layouts_show_what_is_printed(models: tuple[Model, ...]) -> None:
    """As `python -m bench.layouts` prints it, and no example with GPUs is left out."""
    assert render_layouts(FILES, {model.name: model for model in models}) in LAYOUTS.read_text()
    on_gpus = {
        path.name
        for path in EXAMPLES.glob("*.yaml")
        if "cuda:" in (text := path.read_text()) or "/gpu" in text
    }
    assert set(FILES) == on_gpus
