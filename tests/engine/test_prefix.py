"""Prompts that begin alike are computed once: their keys, the states kept for speech, and what is said."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tercet_engine.checkpoint import Checkpoint
from tercet_engine.prefix import StateStore, list_keys
from tercet_engine.prompts import Prepared, Prompter
from tercet_engine.stage import ThinkerInput
from tercet_engine.thinker import load_thinker
from tercet_wire.messages import AudioPart, ChatMessage, ImagePart, TextPart, Turn, Usage
from tercet_wire.names import Stage
from tercet_wire.settings import StageSettings

from tests.engine.conversing import Thinker, Thought, think, turn_of
from tests.engine.reference import CASES, Reference

BLOCK = 8
CASE = {case.name: case for case in CASES}
MIXED = CASES[31]


@pytest.fixture(scope="module")
def prompter(checkpoint: Checkpoint) -> Prompter:
    return Prompter(checkpoint)


@pytest.fixture
def thinker(demo: Path, device: str) -> Iterator[Thinker]:
    loaded = load_thinker(
        StageSettings(stage=Stage.THINKER, checkpoint=str(demo), devices=(device,), block_tokens=BLOCK)
    )
    yield loaded
    loaded.shutdown()


def looked_at(shade: int, *, then: str = "What is it?", heard: int = 0) -> ThinkerInput:
    """A picture of one shade, a sound, and a question."""
    picture = np.full((56, 56, 3), shade, np.uint8)
    samples = np.full(4_000, heard / 100, np.float32)
    parts = (TextPart(text="Look."), ImagePart(height=56, width=56), AudioPart(samples=4_000))
    message = ChatMessage(role="user", content=(*parts, TextPart(text=then)))
    return ThinkerInput(turn=Turn(messages=(message,)), pixels=picture.ravel(), samples=samples)


def keys_of(given: ThinkerInput, prompter: Prompter, checkpoint: Checkpoint) -> tuple[bytes, ...]:
    prepared = prompter.prepare(given.turn, given.pixels, given.samples)
    return list_keys(prepared, media_tokens(checkpoint), BLOCK)


def media_tokens(checkpoint: Checkpoint) -> tuple[int, ...]:
    config = checkpoint.config.thinker_config
    return config.audio_token_id, config.image_token_id, config.video_token_id


def agree(one: tuple[bytes, ...], other: tuple[bytes, ...]) -> int:
    return next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))


def test_keys_agree_up_to_where_prompts_part(prompter: Prompter, checkpoint: Checkpoint) -> None:
    """At the picture, at the sound behind it, or only at the question's end."""
    keys = keys_of(looked_at(10), prompter, checkpoint)
    other_picture = agree(keys, keys_of(looked_at(11), prompter, checkpoint))
    other_sound = agree(keys, keys_of(looked_at(10, heard=7), prompter, checkpoint))
    other_question = agree(keys, keys_of(looked_at(10, then="What is that?"), prompter, checkpoint))
    assert 0 < other_picture < other_sound < other_question < len(keys)
    assert keys == keys_of(looked_at(10), prompter, checkpoint)


def test_the_row_that_the_first_token_follows_from_is_always_computed(
    prompter: Prompter, checkpoint: Checkpoint
) -> None:
    given = looked_at(10)
    prepared = prompter.prepare(given.turn, given.pixels, given.samples)
    for rows in (BLOCK, BLOCK + 1, 3 * BLOCK):
        short = replace(
            prepared,
            ids=prepared.ids[:rows],
            positions=prepared.positions[:, :rows],
            sounds=(),
            images=(),
        )
        assert len(list_keys(short, (-1, -2, -3), BLOCK)) == (rows - 1) // BLOCK


def test_positions_tell_prompts_apart(prompter: Prompter, checkpoint: Checkpoint) -> None:
    given = looked_at(10)
    prepared: Prepared = prompter.prepare(given.turn, given.pixels, given.samples)
    moved = replace(prepared, positions=prepared.positions + 1)
    tokens = media_tokens(checkpoint)
    assert agree(list_keys(prepared, tokens, BLOCK), list_keys(moved, tokens, BLOCK)) == 0


def test_states_are_kept_by_block_and_the_oldest_go() -> None:
    store = StateStore(most=3)
    states = torch.arange(14.0)[:, None]
    store.keep([b"a", b"b"], states, 4)
    assert torch.equal(torch.cat(store.find([b"a", b"b", b"c"])), states[:8])
    assert store.find([b"c", b"a"]) == []
    store.find([b"a"])
    store.keep([b"c", b"d"], states, 4)
    assert [len(store.find([key])) for key in (b"a", b"b", b"c", b"d")] == [1, 0, 1, 1]


def finish(thinker: Thinker, name: str, session: str, *, spoken: bool) -> Thought:
    case = CASE[name]
    turn = turn_of(case) if spoken else turn_of(case, speech=None)
    thought = think(thinker, case, turn, session)
    assert thought.end() is None
    return thought


def usage_of(thought: Thought) -> Usage:
    usage = thought.outputs[-1].event.usage
    assert usage is not None
    assert usage.prompt_cached_tokens < usage.prompt_tokens
    return usage


def cached(thought: Thought) -> int:
    return usage_of(thought).prompt_cached_tokens


@pytest.mark.parametrize("name", [MIXED.name, "a picture", "a sound"])
def test_a_prompt_that_is_known_is_answered_alike(name: str, thinker: Thinker, reference: Reference) -> None:
    """Text, states for the talker, positions and counts; nearly all of it from the blocks of the first."""
    first = finish(thinker, name, "first", spoken=True)
    again = finish(thinker, name, "again", spoken=True)
    assert (cached(first), cached(again) > 0) == (0, True)
    assert again.tokens == first.tokens == reference.reply(CASE[name]).tokens
    assert torch.equal(again.outputs[0].positions, first.outputs[0].positions)
    states = [torch.cat([output.states for output in each.outputs]) for each in (first, again)]
    torch.testing.assert_close(states[1], states[0], atol=1e-4, rtol=1e-4)
    assert usage_of(again).model_copy(update={"prompt_cached_tokens": 0}) == usage_of(first)


def test_a_turn_that_speaks_needs_states_that_one_of_text_did_not_make(thinker: Thinker) -> None:
    """Its prompt is computed once more; a turn of text takes either's."""
    silent = finish(thinker, "a question", "silent", spoken=False)
    spoken = finish(thinker, "a question", "spoken", spoken=True)
    later = finish(thinker, "a question", "later", spoken=False)
    assert [cached(silent), cached(spoken)] == [0, 0]
    assert cached(later) > 0
    assert silent.tokens == spoken.tokens == later.tokens


def test_nothing_is_shared_where_that_is_switched_off(demo: Path, device: str) -> None:
    settings = StageSettings(stage=Stage.THINKER, checkpoint=str(demo), devices=(device,), prefix_cache=False)
    thinker = load_thinker(settings)
    try:
        assert [cached(finish(thinker, "a question", name, spoken=True)) for name in "ab"] == [0, 0]
    finally:
        thinker.shutdown()
