"""The talker as its hosts see it, alone with made-up states, and behind the thinker against transformers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from tercet_engine.decoder.sampling import Defaults
from tercet_engine.stage import TalkerInput
from tercet_engine.talker import load_talker, read_defaults
from tercet_engine.talker_reply import group_boundaries
from tercet_engine.thinker import load_thinker
from tercet_wire.messages import Sampling, Speech, Turn
from tercet_wire.names import Stage
from tercet_wire.settings import StageSettings, WindowSettings

from tests.engine.conversing import Talker, Thinker, Voice, converse
from tests.engine.listeners import WAIT_S
from tests.engine.reference import CASES, Reference

HIDDEN = 64
PROMPT = 9
SOME = tuple(CASES[index] for index in (0, 2, 3, 8, 13, 18, 24, 31))
"""Eight conversations with all kinds of media."""

Load = Callable[..., tuple[Thinker, Talker]]


@pytest.fixture
def load(demo: Path, device: str) -> Iterator[Load]:
    """Loads the two stages and ends them."""
    pairs: list[tuple[Thinker, Talker]] = []

    def make(**settings: Any) -> tuple[Thinker, Talker]:
        given: dict[str, Any] = {"checkpoint": str(demo), "devices": (device,), **settings}
        thinker, talker = (StageSettings(stage=stage, **given) for stage in (Stage.THINKER, Stage.TALKER))
        pairs.append((load_thinker(thinker), load_talker(talker)))
        return pairs[-1]

    yield make
    for thinker, talker in pairs:
        thinker.shutdown()
        talker.shutdown()


@pytest.fixture
def talker(load: Load) -> Talker:
    return load()[1]


def speech(voice: str = "Chelsie", **sampling: Any) -> Turn:
    choice = Sampling(**{"temperature": 0.0, "max_tokens": 60, **sampling})
    return Turn(speech=Speech(voice=voice, sampling=choice))


def states(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, HIDDEN, generator=torch.Generator().manual_seed(seed))


def first_input(turn: Turn, *, reply: int = 0, last: bool = False, prompt: int = PROMPT) -> TalkerInput:
    """A prompt's states and the first `reply` rows of its reply, the same in every test."""
    positions = torch.arange(prompt, dtype=torch.int32).expand(3, -1)
    return TalkerInput(states=states(prompt + reply), positions=positions, last=last, turn=turn)


def more_input(*rows: int, last: bool = False) -> TalkerInput:
    """Further rows of that reply."""
    return TalkerInput(
        states=states(PROMPT + max(rows, default=-1) + 1)[[PROMPT + row for row in rows]],
        positions=torch.empty(3, 0, dtype=torch.int32),
        last=last,
    )


def speak(talker: Talker, *inputs: TalkerInput, session: str = "a turn") -> Voice:
    voice = Voice()
    talker.open(session, inputs[0], voice)
    for each in inputs[1:]:
        talker.feed(session, each)
    return voice


def spoken(talker: Talker, *inputs: TalkerInput) -> Voice:
    voice = speak(talker, *inputs)
    assert voice.end() is None
    return voice


def test_every_conversation_sounds_as_transformers_would_say_it(load: Load, reference: Reference) -> None:
    """All at once, the speech following the text as it comes: every token and every code."""
    thoughts = converse(*load(chunk_tokens=24, max_turns=8), CASES)
    for case in CASES:
        thought, reply = thoughts[case.name], reference.reply(case)
        assert (case.name, thought.tokens) == (case.name, reply.tokens)
        assert (case.name, thought.voice.codes) == (case.name, reply.codes)


@pytest.mark.parametrize(("block_tokens", "chunk_tokens"), [(4, 5), (16, 256), (64, 33)])
def test_speech_does_not_depend_on_how_memory_and_prompts_are_cut(
    load: Load, reference: Reference, block_tokens: int, chunk_tokens: int
) -> None:
    """Eight turns at once."""
    settings = {"block_tokens": block_tokens, "chunk_tokens": chunk_tokens, "flush_s": 0.0}
    thoughts = converse(*load(**settings), SOME)
    for case in SOME:
        assert (case.name, thoughts[case.name].voice.codes) == (case.name, reference.reply(case).codes)


def test_several_devices_share_the_turns(load: Load, reference: Reference, device: str) -> None:
    """Each has a network and memory of its own; a turn stays where it began."""
    thoughts = converse(*load(devices=(device, device)), SOME[:4])
    for case in SOME[:4]:
        assert thoughts[case.name].tokens == reference.reply(case).tokens
        assert thoughts[case.name].voice.codes == reference.reply(case).codes


def test_codes_do_not_depend_on_how_states_arrive(talker: Talker) -> None:
    """All at once, one by one, the prompt before the reply, or the turn before its prompt."""
    turn = speech()
    whole = spoken(talker, first_input(turn, reply=5, last=True)).codes
    nothing = TalkerInput(states=states(0), positions=torch.empty(3, 0), last=False, turn=turn)
    later = first_input(turn)
    for inputs in (
        [first_input(turn), *(more_input(row) for row in range(4)), more_input(4, last=True)],
        [first_input(turn, reply=1), more_input(1, 2, 3, 4), more_input(last=True)],
        [nothing, replace(later, turn=None), more_input(0, 1, 2, 3, 4, last=True)],
    ):
        assert spoken(talker, *inputs).codes == whole


def test_a_checkpoint_may_say_how_its_codes_are_drawn() -> None:
    """By the names of transformers' `generate`, whose defaults stand for what is left out; zero is not."""
    given = {"temperature": 0.5, "talker_temperature": 0.0, "talker_repetition_penalty": 1.0}
    assert read_defaults(given) == Defaults(temperature=0.0, top_k=40, top_p=0.8, repetition_penalty=1.0)


def test_the_load_tells_how_late_a_turn_is(talker: Talker) -> None:
    """Gateways choose replicas by it. Its first codes were due before it came; the others are early."""
    turn = speech().model_copy(update={"due_s": -100.0})
    voice = spoken(talker, first_input(turn, reply=5, last=True))
    first, *later = [output.event.load.lateness_s for output in voice.outputs]
    assert 100 <= first < 100 + WAIT_S
    assert later
    assert max(later) < WAIT_S


def test_a_turn_waits_where_states_run_out(talker: Talker) -> None:
    """It says what it can and goes on when there is more: two reply states are two codes."""
    choice = Sampling(temperature=0.0, max_tokens=60)
    turn = Turn(speech=Speech(voice="Chelsie", sampling=choice, window=WindowSettings(first_codes=1)))
    voice = speak(talker, first_input(turn, reply=1))
    assert voice.heard.wait(WAIT_S)
    assert len(voice.codes) == 1
    talker.feed("a turn", more_input(1, 2, last=True))
    assert voice.end() is None
    assert len(voice.codes) > 3


def test_a_reply_of_the_end_token_alone_has_no_speech(talker: Talker) -> None:
    """One last message without codes."""
    (output,) = spoken(talker, first_input(speech(), last=True)).outputs
    assert (output.codes, output.last, output.event.finish_reason) == ((), True, "stop")
    (output,) = spoken(talker, first_input(speech()), more_input(last=True)).outputs
    assert (output.codes, output.last) == ((), True)


def test_a_limit_ends_speech_and_usage_counts_the_codes(talker: Talker) -> None:
    """Codes bear no end code."""
    voice = spoken(talker, first_input(speech(max_tokens=21), reply=9, last=True))
    event = voice.outputs[-1].event
    assert event.finish_reason == "length"
    assert event.usage is not None
    assert event.usage.codes == len(voice.codes) == 21


def test_a_short_reply_waits_for_no_memory_of_a_long_speech(load: Load) -> None:
    """Forty codes a word at most, where the request sets no limit."""
    _, talker = load(kv_bytes=200 * 1024, block_tokens=8)
    choice = Sampling(temperature=0.0, logit_bias={8292: -100, 8294: -100})
    turn = Turn(sampling=Sampling(max_tokens=3), speech=Speech(voice="Ethan", sampling=choice))
    assert len(spoken(talker, first_input(turn, reply=2, last=True)).codes) == 120


def test_codes_leave_when_a_window_can_fire(talker: Talker) -> None:
    """The first message holds the first window's codes, the others end with blocks."""
    voice = spoken(talker, first_input(speech(max_tokens=50), reply=9, last=True))
    assert [len(output.codes) for output in voice.outputs] == [8, 4, 12, 12, 12, 2]
    assert [output.last for output in voice.outputs] == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        pytest.param(WindowSettings(), [8, 12, 24, 36], id="as deployed"),
        pytest.param(WindowSettings(first_codes=12, blocks=2, max_blocks=2), [12, 36, 60, 84], id="blocks"),
        pytest.param(WindowSettings(first_codes=30), [30, 36, 48, 60], id="a long first window"),
        pytest.param(WindowSettings(mode="whole"), [50, 100, 150, 200], id="a second at a time"),
    ],
)
def test_groups_of_codes_match_windows(window: WindowSettings, expected: list[int]) -> None:
    """The counts of codes at which a message goes out."""
    assert list(islice(group_boundaries(window), 4)) == expected


def test_a_seeded_turn_says_the_same_alone_and_in_a_crowd(talker: Talker) -> None:
    """With the reference's temperature, top-k, top-p and repetition penalty."""
    sampled = Sampling(seed=5, max_tokens=60)
    turn = Turn(speech=Speech(voice="Ethan", sampling=sampled))
    alone = spoken(talker, first_input(turn, reply=6, last=True)).codes
    crowd = [
        speak(
            talker,
            first_input(speech(seed=number, temperature=1.0), reply=3 + number, last=True),
            session=str(number),
        )
        for number in range(6)
    ]
    assert spoken(talker, first_input(turn, reply=6, last=True)).codes == alone
    assert [voice.end() for voice in crowd] == [None] * 6
    assert len({voice.codes for voice in crowd}) == 6


def test_voices_sound_different(talker: Talker) -> None:
    """The voice is a row of the prompt."""
    voices = ("Chelsie", "Ethan")
    spoken_by = [spoken(talker, first_input(speech(voice), reply=5, last=True)).codes for voice in voices]
    assert spoken_by[0] != spoken_by[1]


@pytest.mark.parametrize(
    ("turn", "expected", "words"),
    [
        pytest.param(speech("Nobody"), ("invalid_request", "audio.voice"), "Chelsie, Ethan", id="voice"),
        pytest.param(Turn(), ("invalid_request", "audio"), "no speech", id="no speech"),
        pytest.param(speech(logit_bias={9000: 1.0}), ("invalid_request", "logit_bias"), "8447", id="bias"),
    ],
)
def test_a_turn_that_cannot_be_served_is_refused(
    talker: Talker, turn: Turn, expected: tuple[str, str], words: str
) -> None:
    """With the field at fault, and what would have been right."""
    failure = speak(talker, first_input(turn, reply=1)).end()
    assert failure is not None
    assert (failure.type, failure.param) == expected
    assert words in failure.message


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(first_input(speech()), id="a second prompt"),
        pytest.param(
            TalkerInput(states=torch.zeros(1, HIDDEN + 1), positions=torch.empty(3, 0), last=False),
            id="states of another checkpoint",
        ),
    ],
)
def test_input_that_does_not_fit_ends_the_turn(talker: Talker, second: TalkerInput) -> None:
    """And says so, instead of speaking nonsense."""
    assert speak(talker, first_input(speech()), second).end_type() == "invalid_request"


def test_positions_without_states_are_refused(talker: Talker) -> None:
    """Before a step could trip over them."""
    given = replace(first_input(speech()), states=states(PROMPT - 1))
    assert speak(talker, given).end_type() == "invalid_request"


def test_a_prompt_that_leaves_no_room_is_refused(load: Load) -> None:
    """At once; a shorter one is served until the memory ends."""
    _, talker = load(kv_bytes=40 * 1024, block_tokens=8)  # 40 tokens of 2 layers, 2 heads of 32, both in fp32
    assert speak(talker, first_input(speech(), prompt=39, reply=1)).end_type() == "context_length_exceeded"
    voice = spoken(talker, first_input(speech(logit_bias={8292: -100, 8294: -100}), reply=3, last=True))
    assert voice.outputs[-1].event.finish_reason == "length"
    assert len(voice.codes) == 40 - PROMPT - 2 + 1


def test_a_listener_that_leaves_ends_its_turn(talker: Talker) -> None:
    """Even while the turn waits for states."""
    voice = speak(talker, first_input(speech()))
    voice.has_gone = True
    assert voice.end_type() == "cancelled"
    assert spoken(talker, first_input(speech(), reply=1, last=True)).outputs[-1].last
