"""The demo checkpoint loads unchanged in transformers, and behaves like a model that can talk."""

import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tercet_engine.demo import build_demo, ensure_demo

from tests.engine.reference import CASES, Case, Reference

SPOKEN = [case for case in CASES if case.name in {"a question", "a long text", "a sound", "a silent video"}]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_greedy_reply_can_be_spoken(case: Case, reference: Reference) -> None:
    """Printable text, and two to six codes for each of its tokens, none of them for ever the same."""
    reply = reference.reply(case)
    end = reference.model.config.thinker_config.eos_token_id
    said = reply.tokens[:-1] if reply.tokens[-1] == end else reply.tokens
    assert len(said) >= 12
    assert all(chr(token) in string.printable for token in said)
    assert 2 * len(said) <= len(reply.codes) <= 6 * len(said)
    assert max(reply.codes) < 8193
    assert len(set(reply.codes)) > len(reply.codes) / 4


def test_some_greedy_replies_end_by_themselves_and_some_do_not(reference: Reference) -> None:
    """Both ways of ending a reply are there to be tested."""
    end = reference.model.config.thinker_config.eos_token_id
    endings = {reference.reply(case).tokens[-1] == end for case in CASES}
    assert endings == {True, False}


@pytest.mark.parametrize("case", SPOKEN, ids=lambda case: case.name)
def test_sampled_reply_is_as_long_as_its_text(case: Case, reference: Reference) -> None:
    """Sampling as the generation config and the talker's defaults say."""
    torch.manual_seed(5)
    heard: list[Any] = []
    hook = reference.model.token2wav.register_forward_hook(lambda _m, args, wave: heard.append((args, wave)))
    arguments = reference.arguments(case)
    with hook:
        sequences, wave = reference.model.generate(
            **arguments, thinker_do_sample=True, thinker_top_k=20, thinker_max_new_tokens=32
        )
    said = sequences.shape[1] - arguments["input_ids"].shape[1]
    codes = heard[0][0][0].shape[1]
    assert 2 * said <= codes <= 6 * said
    assert wave.shape == (codes * 480,)
    loudness = float(wave.square().mean().sqrt())
    assert 0.02 < loudness < 0.2
    assert float(wave.abs().max()) < 1.0
    assert abs(float(wave.mean())) < 0.01


def test_voices_differ(reference: Reference) -> None:
    """The speaker token changes what is said, beside how the sound is conditioned."""
    case = CASES[1]
    chelsie, ethan = (reference.reply(case, speaker=name) for name in ("Chelsie", "Ethan"))
    assert chelsie.tokens == ethan.tokens
    assert chelsie.codes != ethan.codes


def test_building_twice_gives_the_same_weights(tmp_path: Path) -> None:
    """Tests on different machines speak of one model."""
    for name in ("one", "two"):
        build_demo("tiny", tmp_path / name)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[key], two[key]) for key in one)


def test_ensure_demo_builds_once(tmp_path: Path) -> None:
    """A folder that is there is used, and nothing is left beside it."""
    folder = ensure_demo("tiny", tmp_path / "cache")
    mark = folder / "mark"
    mark.touch()
    assert ensure_demo("tiny", tmp_path / "cache") == folder
    assert mark.exists()
    assert list(folder.parent.iterdir()) == [folder]


def test_a_build_that_loses_the_race_keeps_the_winner(tmp_path: Path) -> None:
    """Two processes may build at once; the folder stays whole."""
    folder = tmp_path / "demo"
    build_demo("tiny", folder)
    mark = folder / "mark"
    mark.touch()
    build_demo("tiny", folder)
    assert mark.exists()
    assert list(tmp_path.iterdir()) == [folder]
