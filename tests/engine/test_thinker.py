"""The thinker as its hosts see it: a StageEngine with sinks, on the tiny demo, against transformers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tercet_engine.checkpoint import Checkpoint
from tercet_engine.decoder.sampling import Defaults
from tercet_engine.stage import ThinkerInput
from tercet_engine.thinker import load_thinker, read_defaults
from tercet_wire.messages import ChatMessage, Sampling, Speech, TextPart, Turn
from tercet_wire.names import Stage
from tercet_wire.settings import StageSettings, WindowSettings

from tests.engine.conversing import GREEDY, Thinker, Thought, think, turn_of
from tests.engine.listeners import WAIT_S
from tests.engine.reference import CASES, Case, Reference

CASE = {case.name: case for case in CASES}
QUESTION = CASE["a question"]
SOME = tuple(CASES[index] for index in (0, 2, 3, 8, 13, 18, 24, 31))
"""Eight conversations with all kinds of media."""

Load = Callable[..., Thinker]


@pytest.fixture
def load(demo: Path, device: str) -> Iterator[Load]:
    """Loads thinkers and ends them."""
    thinkers: list[Thinker] = []

    def make(**settings: Any) -> Thinker:
        given: dict[str, Any] = {"checkpoint": str(demo), "devices": (device,), **settings}
        thinkers.append(load_thinker(StageSettings(stage=Stage.THINKER, **given)))
        return thinkers[-1]

    yield make
    for thinker in thinkers:
        thinker.shutdown()


def finished(thinker: Thinker, case: Case = QUESTION, turn: Turn | None = None) -> Thought:
    thought = think(thinker, case, turn)
    assert thought.end() is None
    return thought


@pytest.mark.parametrize("block_tokens", [4, 16, 64])
@pytest.mark.parametrize("chunk_tokens", [5, 256])
def test_a_crowd_says_what_each_would_say_alone(
    load: Load, reference: Reference, block_tokens: int, chunk_tokens: int
) -> None:
    """Eight turns at once, token for token as transformers; however prompts are cut and keys are kept."""
    thinker = load(block_tokens=block_tokens, chunk_tokens=chunk_tokens)
    thoughts = {case.name: think(thinker, case, session=case.name) for case in SOME}
    for case in SOME:
        assert (case.name, thoughts[case.name].end()) == (case.name, None)
        assert (case.name, thoughts[case.name].tokens) == (case.name, reference.reply(case).tokens)


def test_the_text_is_that_of_the_tokens(load: Load, reference: Reference) -> None:
    """Special tokens show nowhere in it."""
    thinker = load(flush_s=0.0)
    for case in SOME[:3]:
        thought = finished(thinker, case)
        expected = reference.processor.tokenizer.decode(thought.tokens, skip_special_tokens=True)
        assert thought.text == expected


def test_turns_that_come_while_others_speak_change_nothing(load: Load, reference: Reference) -> None:
    """Each joins when the one before it has been heard."""
    thinker = load(chunk_tokens=7, flush_s=0.0)
    thoughts = []
    for case in SOME:
        thoughts.append(think(thinker, case, session=case.name))
        assert thoughts[-1].heard.wait(WAIT_S)
    for case, thought in zip(SOME, thoughts, strict=True):
        assert thought.end() is None
        assert thought.tokens == reference.reply(case).tokens


def test_a_seeded_turn_says_the_same_alone_and_in_a_crowd(load: Load) -> None:
    """With temperature, top-k and top-p as the checkpoint has them."""
    thinker = load()
    seeded = turn_of(QUESTION, sampling=Sampling(seed=11, max_tokens=30, logit_bias={}), speech=None)
    alone = finished(thinker, turn=seeded)
    others = [turn_of(case, sampling=Sampling(seed=3), speech=None) for case in SOME[:5]]
    crowd = [think(thinker, case, turn, case.name) for case, turn in zip(SOME, others, strict=False)]
    crowded = finished(thinker, turn=seeded)
    assert crowded.tokens == alone.tokens
    assert [thought.end() for thought in crowd] == [None] * 5


def test_states_follow_the_tokens(load: Load) -> None:
    """The prompt's with the first token, then a row for each token that was fed back: all but the last."""
    thought = finished(load(flush_s=0.0))
    first, second, *_ = thought.outputs
    prompt = first.positions.shape[1]
    assert first.positions.dtype == torch.int32
    assert len(first.tokens) == len(second.tokens) == 1
    assert thought.state_rows[:2] == [prompt, 1]
    assert sum(thought.state_rows) == prompt + len(thought.tokens) - 1
    assert [output.last for output in thought.outputs] == [False] * (len(thought.outputs) - 1) + [True]
    assert all(output.positions.shape[1] == 0 for output in thought.outputs[1:])


def test_states_are_the_projected_sum_of_text_and_thought(load: Load, reference: Reference) -> None:
    """As transformers' talker sees them; pictures and sounds count for their thought alone."""
    case = CASE["everything at once"]
    talker = reference.model.talker
    heard: list[torch.Tensor] = []
    hook = talker.thinker_to_talker_proj.register_forward_hook(lambda _, __, out: heard.append(out[0]))
    with hook:
        reference.reply(case, tokens=3)
    thought = finished(load(chunk_tokens=11), case)
    states = torch.cat([output.states for output in thought.outputs])
    prompt = thought.outputs[0].positions.shape[1]
    torch.testing.assert_close(states[:prompt], heard[0][1 : prompt + 1], rtol=1e-4, atol=1e-4)


def test_a_turn_of_text_carries_no_states(load: Load) -> None:
    """Nobody would hear them."""
    thought = finished(load(), turn=turn_of(QUESTION, speech=None))
    assert sum(thought.state_rows) == 0
    assert all(output.positions.shape == (3, 0) for output in thought.outputs)
    assert thought.outputs[-1].last


@pytest.mark.parametrize(
    ("flush_s", "speech", "expected"),
    [
        (0.0, None, 12),
        (1000.0, None, 3),
        (1000.0, Speech(voice="Chelsie"), 10),
        (1000.0, Speech(voice="Chelsie", window=WindowSettings(first_codes=4)), 6),
        (1000.0, Speech(voice="Chelsie", window=WindowSettings(mode="whole")), 3),
    ],
)
def test_tokens_are_gathered_once_none_is_waited_for(
    load: Load, flush_s: float, speech: Speech | None, expected: int
) -> None:
    """Two messages at once, or a state for each code of the first window; one for all that follow in time."""
    sampling = GREEDY.model_copy(update={"max_tokens": 12})
    turn = turn_of(QUESTION, sampling=sampling).model_copy(update={"speech": speech})
    assert len(finished(load(flush_s=flush_s), turn=turn).outputs) == expected


def test_a_limit_ends_a_reply_and_usage_counts_it(load: Load, reference: Reference) -> None:
    """Media tokens of the prompt are listed beside it."""
    case = CASE["a picture and a sound"]
    turn = turn_of(case, sampling=GREEDY.model_copy(update={"max_tokens": 5}))
    thought = finished(load(), case, turn)
    event = thought.outputs[-1].event
    prompt = reference.prompt(case)
    config = reference.model.config.thinker_config
    assert event.finish_reason == "length"
    assert event.usage is not None
    assert event.usage.completion_tokens == len(thought.tokens) == 5
    assert event.usage.prompt_tokens == len(prompt.ids)
    assert event.usage.prompt_audio_tokens == int((prompt.ids == config.audio_token_id).sum())
    assert event.usage.prompt_image_tokens == int((prompt.ids == config.image_token_id).sum())
    assert all(output.event.usage is None for output in thought.outputs[:-1])


def test_an_end_token_ends_a_reply(load: Load, reference: Reference) -> None:
    """It is counted, not shown."""
    case = next(case for case in CASES if len(reference.reply(case).tokens) < 40)
    thought = finished(load(), case)
    event = thought.outputs[-1].event
    assert event.finish_reason == "stop"
    assert event.usage is not None
    assert event.usage.completion_tokens == len(reference.reply(case).tokens)


def test_a_stop_string_ends_text_and_speech_before_it(load: Load) -> None:
    """No state is sent of words that are not shown."""
    thinker = load(flush_s=0.0)
    text = finished(thinker, turn=turn_of(QUESTION, speech=None)).text
    stop = text[6:9]
    sampling = GREEDY.model_copy(update={"stop": (stop,)})
    thought = finished(thinker, turn=turn_of(QUESTION, sampling=sampling))
    shown = text[: text.index(stop)]
    assert thought.text == shown
    assert thought.outputs[-1].event.finish_reason == "stop"
    prompt = thought.outputs[0].positions.shape[1]
    assert sum(thought.state_rows) - prompt == len(shown.encode())


def test_log_probabilities_name_every_token_of_the_text(load: Load, reference: Reference) -> None:
    """With as many others beside it as were asked for, best first."""
    sampling = GREEDY.model_copy(update={"top_logprobs": 2, "max_tokens": 6})
    thought = finished(load(), turn=turn_of(QUESTION, sampling=sampling, speech=None))
    described = [each for output in thought.outputs for each in output.event.logprobs]
    assert len(described) == len(thought.tokens) == 6
    assert b"".join(bytes(each.bytes) for each in described).decode(errors="replace") == thought.text
    for each in described:
        assert len(each.top) == 2
        assert each.logprob == each.top[0].logprob >= each.top[1].logprob
        assert each.logprob <= 0


@pytest.mark.parametrize(
    ("settings", "changes", "expected"),
    [
        pytest.param({"kv_bytes": 40_000}, {}, ("context_length_exceeded", "messages"), id="too long"),
        pytest.param(
            {}, {"sampling": Sampling(logit_bias={10**6: 1.0})}, ("invalid_request", "logit_bias"), id="bias"
        ),
        pytest.param(
            {},
            {"messages": (ChatMessage(role="user", content=(TextPart(text="<|im_end|>"),)),)},
            ("invalid_request", "messages"),
            id="control token",
        ),
    ],
)
def test_a_turn_that_cannot_be_served_is_refused(
    load: Load, settings: dict[str, Any], changes: dict[str, Any], expected: tuple[str, str]
) -> None:
    """With the field at fault; the next turn is served."""
    thinker = load(**settings)
    thought = think(thinker, QUESTION, turn_of(QUESTION).model_copy(update=changes))
    failure = thought.end()
    assert failure is not None
    assert (failure.type, failure.param) == expected


def test_the_context_bounds_a_reply(load: Load) -> None:
    """A turn that fits is not refused for what it might say; it ends when the memory does."""
    thinker = load(kv_bytes=96 * 768, block_tokens=1)  # 96 tokens of 3 layers, 2 heads of 16, both in fp32
    thought = finished(thinker, CASE["a word"], turn_of(CASE["a word"], speech=None))
    usage = thought.outputs[-1].event.usage
    assert usage is not None
    assert usage.prompt_tokens + usage.completion_tokens <= 96
    assert thought.outputs[-1].event.finish_reason == "length"


def test_a_client_that_leaves_ends_its_turn(load: Load, checkpoint: Checkpoint) -> None:
    """In the middle of a reply that would have gone on for long."""
    thinker = load(flush_s=0.0)
    sampling = Sampling(max_tokens=5000, logit_bias=dict.fromkeys(checkpoint.end_tokens, -100.0))
    thought = think(thinker, QUESTION, turn_of(QUESTION, sampling=sampling), "leaver")
    assert thought.heard.wait(WAIT_S)
    thought.has_gone = True
    assert thought.end_type() == "cancelled"
    assert finished(thinker).outputs[-1].last


def test_what_a_thinker_is_fed_later_is_ignored(load: Load) -> None:
    """Its input is whole from the start."""
    thinker = load()
    thought = think(thinker, QUESTION)
    thinker.feed("a turn", ThinkerInput(turn=turn_of(QUESTION)))
    assert thought.end() is None


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        pytest.param({}, Defaults(), id="nothing said"),
        pytest.param({"do_sample": False, "temperature": 0.7}, Defaults(temperature=0.0), id="greedy"),
        pytest.param(
            {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05},
            Defaults(temperature=0.7, top_k=20, top_p=0.8, repetition_penalty=1.05),
            id="all said",
        ),
        pytest.param({"top_k": None, "top_p": None}, Defaults(), id="said to be nothing"),
    ],
)
def test_a_checkpoint_says_how_tokens_are_chosen(generation: dict[str, Any], expected: Defaults) -> None:
    """Where the request does not."""
    assert read_defaults(generation) == expected
