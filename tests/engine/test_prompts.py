"""Prompts: what is refused, what transformers cannot say, and many at once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tercet_engine.checkpoint import Checkpoint
from tercet_engine.positions import Grid, PromptLayout, cut_by_time, frame_times
from tercet_engine.prompts import Prepared, Prompter
from tercet_engine.stage import StageError
from tercet_wire.messages import AudioPart, ChatMessage, ImagePart, Part, TextPart, Turn, VideoPart

from tests.engine.reference import CASES, Case, Sound, silent, sound, woven

NO_PIXELS = np.empty(0, np.uint8)
NO_SAMPLES = np.empty(0, np.float32)


@pytest.fixture(scope="module")
def prompter(checkpoint: Checkpoint) -> Prompter:
    return Prompter(checkpoint)


def prepare(prompter: Prompter, case: Case) -> Prepared:
    return prompter.prepare(case.turn(), case.pixels(), case.samples())


def turn_of(*parts: Part) -> Turn:
    return Turn(messages=(ChatMessage(role="user", content=parts),))


@pytest.mark.parametrize(
    ("parts", "pixels", "samples", "words"),
    [
        ((TextPart(text="end <|im_end|> it"),), 0, 0, "text holds <|im_end|>"),
        ((TextPart(text="<|IMAGE|>"),), 0, 0, "text holds <|IMAGE|>"),
        ((ImagePart(height=10, width=10),), 299, 0, "PIXELS ends 1 values early"),
        ((ImagePart(height=10, width=10),), 301, 0, "PIXELS has 1 values more"),
        ((AudioPart(samples=1000),), 0, 999, "SAMPLES ends 1 values early"),
        ((TextPart(text="hi"),), 0, 4, "SAMPLES has 4 values more"),
        ((ImagePart(height=0, width=10),), 0, 0, "is empty: 0 x 10 x 3"),
        ((ImagePart(height=-10, width=-10),), 300, 0, "is empty: -10 x -10 x 3"),
        ((ImagePart(height=1, width=400),), 1200, 0, "a picture of 400 x 1 pixels"),
        ((AudioPart(samples=300),), 0, 300, "a sound must last 30 ms"),
        ((AudioPart(samples=4_800_001),), 0, 4_800_001, "a sound may last 300 s"),
        ((VideoPart(frames=2, height=9, width=9, fps=0),), 486, 0, "fps must be more than 0"),
    ],
)
def test_a_turn_at_fault_is_refused(
    prompter: Prompter, parts: tuple[Part, ...], pixels: int, samples: int, words: str
) -> None:
    """As an invalid request that says what is wrong with the messages."""
    with pytest.raises(StageError) as raised:
        prompter.prepare(turn_of(*parts), np.zeros(pixels, np.uint8), np.zeros(samples, np.float32))
    failure = raised.value.failure
    assert (failure.type, failure.param) == ("invalid_request", "messages")
    assert words in failure.message


def test_a_turn_without_messages_is_refused(prompter: Prompter) -> None:
    """There is nothing to render."""
    with pytest.raises(StageError, match="no message"):
        prompter.prepare(Turn(), NO_PIXELS, NO_SAMPLES)


def test_a_prompt_beyond_the_context_is_refused(prompter: Prompter) -> None:
    """With both numbers, and as its own type."""
    with pytest.raises(StageError) as raised:
        prompter.prepare(turn_of(TextPart(text="x" * 32_768)), NO_PIXELS, NO_SAMPLES)
    assert raised.value.failure.type == "context_length_exceeded"
    assert "32768" in raised.value.failure.message


def test_text_beyond_all_measure_is_refused_unread(prompter: Prompter) -> None:
    """Ten million characters would keep the tokenizer busy for half a minute."""
    halves = [TextPart(text="word " * 1_000_000)] * 2
    with pytest.raises(StageError) as raised:
        prompter.prepare(turn_of(*halves), NO_PIXELS, NO_SAMPLES)
    assert raised.value.failure.type == "context_length_exceeded"
    assert raised.value.failure.param == "messages"
    assert "10000000 characters" in raised.value.failure.message


def test_a_silent_video_may_stand_beside_one_with_sound(prompter: Prompter) -> None:
    """Each is laid out as it would be alone; the reference can only weave all or none."""
    quiet, loud = silent(4), woven(6, 3.0)
    both = prepare(prompter, Case("both", (("user", quiet, loud, Sound(sound(1.0))),)))
    alone = prepare(prompter, Case("alone", (("user", loud, Sound(sound(1.0))),)))
    before = prepare(prompter, Case("before", (("user", quiet),)))
    shared = next(i for i, (a, b) in enumerate(zip(before.ids, alone.ids, strict=False)) if a != b)
    inserted = len(both.ids) - len(alone.ids)
    assert both.ids.tolist() == [
        *alone.ids[:shared].tolist(),
        *both.ids[shared : shared + inserted].tolist(),
        *alone.ids[shared:].tolist(),
    ]
    shift = both.next_position - alone.next_position
    assert (both.positions[:, shared + inserted :] - shift).equal(alone.positions[:, shared:])
    assert both.positions[:, : shared + inserted].equal(before.positions[:, : shared + inserted])


def test_prompts_prepared_at_once_are_the_same(prompter: Prompter) -> None:
    """Worker threads share one prompter."""
    cases = CASES[::3] * 4
    expected = [prepare(prompter, case).ids.tolist() for case in cases]
    with ThreadPoolExecutor(8) as pool:
        found = [prepared.ids.tolist() for prepared in pool.map(lambda case: prepare(prompter, case), cases)]
    assert found == expected


@pytest.mark.parametrize(
    ("times", "lengths"),
    [
        ([], [0]),
        ([0, 49], [2]),
        ([0, 49, 50], [2, 1]),
        ([0, 25, 50, 75, 100], [2, 2, 1]),
        ([0, 100, 200], [1, 1, 1]),
        ([0, 200, 210, 260], [1, 1, 1, 1]),
    ],
)
def test_times_are_cut_where_a_span_is_reached(times: list[int], lengths: list[int]) -> None:
    """A jump over several spans is one cut, and spans catch up one cut at a time."""
    cuts = cut_by_time(np.array(times, np.int32), 50)
    assert [cut.stop - cut.start for cut in cuts] == lengths


def test_frame_times_round_down_as_in_single_precision() -> None:
    """2 frames at 1.7 a second are 29.41 positions."""
    assert frame_times(4, 2 / 1.7, 25).tolist() == [0, 29, 58, 88]


def test_text_goes_on_after_a_pictures_longest_side() -> None:
    """A picture takes as many positions as its longest side has patches."""
    layout = PromptLayout()
    layout.add_run([1, 2])
    layout.add_grid(9, Grid(times=np.zeros(1, np.int32), height=2, width=3))
    layout.add_run([3])
    assert layout.ids().tolist() == [1, 2, *[9] * 6, 3]
    assert layout.positions().tolist() == [
        [0, 1, *[2] * 6, 5],
        [0, 1, 2, 2, 2, 3, 3, 3, 5],
        [0, 1, 2, 3, 4, 2, 3, 4, 5],
    ]
    assert layout.end == 6
