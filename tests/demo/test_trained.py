"""The checkpoint that is part of the package: it answers, it ends by itself, and so says transformers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch
from tercet_engine.checkpoint import open_checkpoint
from tercet_engine.demo.build import find_trained
from tercet_engine.talker import load_talker
from tercet_engine.thinker import load_thinker
from tercet_wire.messages import Speech, Turn
from tercet_wire.names import SAMPLES_PER_CODE, Stage
from tercet_wire.settings import StageSettings, WindowSettings
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavModel

from demo.conversations.conversing import SPEECH_PROMPT
from demo.conversations.scenes import Picture, Sound, Video
from demo.media.pictures import draw_picture
from demo.media.sounds import SpokenPool, sound_out
from demo.media.videos import FPS, draw_video
from demo.voice.listening import Model, measure_quiet_end
from tests.engine import reference as oracle
from tests.engine.conversing import SpokenThought, converse
from tests.engine.reference import Case, Content, Reference

_CONTEXT: Final = ("system", SPEECH_PROMPT)
_WHOLE: Final = "whole"


@pytest.fixture(scope="module")
def folder() -> Path:
    return find_trained()


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference.load(folder)


@pytest.fixture(scope="module")
def answers(pool: SpokenPool) -> list[tuple[Case, str]]:
    """A conversation of each kind, with what is to be said."""
    picture = draw_picture(Picture(color="green", shape="circle", count=1, seed=3))
    beeps = sound_out(Sound(kind="beeps", what="3", seed=5), pool)
    video = draw_video(Video(color="blue", shape="square", direction="left", seed=5))
    asked: list[tuple[str, tuple[Content, ...], str]] = [
        ("a sum", ("What is three plus four?",), "Three plus four is seven."),
        ("repeating", ("Repeat after me: the small cat sleeps",), "The small cat sleeps."),
        ("a picture", (oracle.Picture(picture.copy()), "What do you see?"), "I see a green circle."),
        ("a sound", (oracle.Sound(beeps), "What do you hear?"), "I hear three beeps."),
        ("a video", (oracle.Video(video, FPS), "What happens?"), "A blue square moves to the left."),
    ]
    return [(Case(name, (_CONTEXT, ("user", *contents))), answer) for name, contents, answer in asked]


@pytest.fixture(scope="module")
def thoughts(folder: Path, answers: list[tuple[Case, str]]) -> Iterator[dict[str, SpokenThought]]:
    settings = {
        stage: StageSettings(stage=stage, checkpoint=str(folder)) for stage in (Stage.THINKER, Stage.TALKER)
    }
    thinker, talker = load_thinker(settings[Stage.THINKER]), load_talker(settings[Stage.TALKER])
    yield converse(thinker, talker, [case for case, _ in answers])
    thinker.shutdown()
    talker.shutdown()


def test_it_answers_what_it_learned(
    answers: list[tuple[Case, str]], thoughts: dict[str, SpokenThought]
) -> None:
    """A sum, a sentence to repeat, a picture, a sound, a video."""
    assert {case.name: thoughts[case.name].text for case, _ in answers} == {
        case.name: answer for case, answer in answers
    }


def test_transformers_says_the_same(
    answers: list[tuple[Case, str]], thoughts: dict[str, SpokenThought], reference: Reference
) -> None:
    """Every token and every code, to an end that comes by itself."""
    for case, _ in answers:
        thought, reply = thoughts[case.name], reference.reply(case)
        assert (case.name, thought.tokens) == (case.name, reply.tokens)
        assert (case.name, thought.voice.codes) == (case.name, reply.codes)
        assert len(thought.tokens) < 40
        assert 0 < len(thought.voice.codes) < 320


def test_it_falls_silent_soon_after_its_last_word(
    folder: Path, answers: list[tuple[Case, str]], thoughts: dict[str, SpokenThought]
) -> None:
    """Within 0.3 s, and it speaks at least as long as its letters take."""
    with Model(folder, {_WHOLE: WindowSettings(mode="whole")}) as model:
        for case, answer in answers:
            codes = thoughts[case.name].voice.codes
            wave = model.render(_WHOLE, Turn(speech=Speech(voice="Chelsie")), codes)
            assert len(wave) == SAMPLES_PER_CODE * len(codes)
            assert (case.name, measure_quiet_end(wave) <= 0.3) == (case.name, True)
            assert len(wave) / 24_000 > 0.03 * len(answer)


def test_the_sound_is_what_transformers_makes(folder: Path, thoughts: dict[str, SpokenThought]) -> None:
    """The same codes, voice and seed give the same waveform, to the resolution of the PCM."""
    checkpoint = open_checkpoint(folder)
    reference = Qwen2_5OmniToken2WavModel._from_config(checkpoint.config.token2wav_config).eval()
    reference.load_state_dict(checkpoint.load("token2wav."))
    codes, speaker = thoughts["repeating"].voice.codes, checkpoint.speakers["Ethan"]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(17)
        want = reference(torch.tensor([codes]), speaker.cond, speaker.ref_mel).numpy()
    with Model(folder, {_WHOLE: WindowSettings(mode="whole")}) as model:
        got = model.render(_WHOLE, Turn(speech=Speech(voice="Ethan", noise_seed=17)), codes)
    assert np.abs(want).max() > 0.05
    np.testing.assert_allclose(got, want, atol=1e-4)
