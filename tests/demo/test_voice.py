"""What the demo's voice is trained from, as it is kept, and training on from what is served."""

from pathlib import Path

import pytest
import torch
from tercet_engine.demo.build import find_trained

from demo.assembling import take_part
from demo.conversations.conversing import draw_talks
from demo.size import build_demo_config
from demo.steps import keep_codec
from demo.voice.codec import learn_codec
from demo.voice.corpus import Speech, draw_frames
from demo.voice.dictation import read_dictation, write_dictation
from demo.voice.dit import train_dit
from demo.voice.prompts import write_prompts
from demo.voice.synthesis import CHELSIES_SHARE, VOICES

WIDTH = 8
HERS, ALL = 300, 1_000
"""Frames."""


def make_speech() -> Speech:
    """Noise: an utterance of Chelsie's, then one of Ethan's."""
    return Speech(
        voices=torch.tensor([0, 1]),
        starts=torch.tensor([0, HERS, ALL]),
        wave=torch.zeros(ALL * 240, dtype=torch.int16),
        mel=torch.randn(ALL, 80),
    )


def test_frames_are_drawn_of_both_voices_to_the_end() -> None:
    torch.manual_seed(0)
    drawn = draw_frames(make_speech(), 20_000, WIDTH)
    assert (int(drawn.min()), int(drawn.max())) == (0, ALL - WIDTH - 1)
    assert float((drawn < HERS).float().mean()) == pytest.approx(CHELSIES_SHARE, abs=0.02)


def test_a_dictation_holds_its_texts_and_their_codes(tmp_path: Path) -> None:
    keep_codec(tmp_path)
    write_dictation(["the dog", "a small red cat sleeps"], tmp_path, workers=1)
    read = read_dictation(tmp_path)
    assert read.texts == ("the dog", "a small red cat sleeps")
    lengths = read.starts.diff().tolist()
    assert len(lengths) == len(read.texts) * len(VOICES)
    assert min(lengths[len(VOICES) :]) > max(lengths[: len(VOICES)]) > 10
    assert int(read.starts[-1]) == len(read.codes)


def test_a_dictation_of_before_texts_were_kept_is_refused(tmp_path: Path) -> None:
    torch.save({"codes": torch.zeros(1), "starts": torch.zeros(2)}, tmp_path / "dictation.pt")
    with pytest.raises(ValueError, match="make the dictation again"):
        read_dictation(tmp_path)


def test_a_reply_that_is_not_dictated_is_refused(tmp_path: Path) -> None:
    talks = draw_talks(1, 1, 1)
    with pytest.raises(ValueError, match="not in the dictation"):
        write_prompts(talks, [], tmp_path, tmp_path, workers=1)


def test_the_served_dit_is_trained_on_from_where_it_is(tmp_path: Path) -> None:
    """A moment changes it a little, not back to where it once began."""
    served = take_part("dit", find_trained())
    speech = Speech(
        voices=torch.tensor([0, 1]),
        starts=torch.tensor([0, 2_000, 4_000]),
        wave=torch.zeros(4_000 * 240, dtype=torch.int16),
        mel=torch.randn(4_000, 80) - 5,
    )
    keep_codec(tmp_path)
    learn_codec(speech, tmp_path)
    config = build_demo_config().token2wav_config.dit_config
    trained = train_dit(config, speech, tmp_path, seconds=0.1, batch=1, begin=served)
    assert trained.keys() == served.keys()
    for name, value in trained.items():
        torch.testing.assert_close(value, served[name].to(value.dtype), atol=0.05, rtol=0.1)
