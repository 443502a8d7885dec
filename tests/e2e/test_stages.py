"""The three stages on a real Triton, asked over its own gRPC: what a turn is told, and how it ends."""

import asyncio
from uuid import uuid4

import psutil
import pytest
from tercet_wire.messages import StageEvent, Turn
from tercet_wire.names import Stage, Tensor

from tests.e2e.processes import find_stage
from tests.e2e.served import Served
from tests.e2e.triton_client import Answer, Triton
from tests.e2e.turns import likeness_db, relay, speak, spoken_turn, think, without_messages

WAIT_S = 60


def new_session() -> str:
    return uuid4().hex


def failures(answers: list[Answer]) -> list[str]:
    return [answer.failure.type for answer in answers if answer.failure]


def is_final_last(answers: list[Answer]) -> bool:
    """Once, and after everything else."""
    return [answer.final for answer in answers] == [False] * (len(answers) - 1) + [True]


async def test_a_turn_goes_through_all_three(triton: Triton) -> None:
    """Each stage's outputs are the next one's inputs, and each says once that it is done."""
    turn, session = spoken_turn(), new_session()
    said = await think(triton, session, turn)
    coded = await relay(triton, Stage.TALKER, session, turn, said)
    sounded = await relay(triton, Stage.CODE2WAV, session, turn, coded)

    assert failures(said + coded + sounded) == []
    assert is_final_last(said)
    for answers in (said, coded, sounded):
        own = [answer for answer in answers if answer.request == "1"]
        assert is_final_last(own)
        assert [bool(answer.tensors[Tensor.LAST][0]) for answer in own if answer.tensors][-1] is True
    codes = sum(answer.tensors[Tensor.CODES].size for answer in coded if answer.tensors)
    samples = sum(answer.tensors[Tensor.PCM].size for answer in sounded if answer.tensors)
    assert 0 < codes <= 40
    assert samples == codes * 480
    event = StageEvent.model_validate_json([a for a in said if a.tensors][-1].text(Tensor.EVENT))
    assert event.usage is not None
    assert event.usage.completion_tokens <= 8


async def test_the_same_turn_sounds_the_same(triton: Triton) -> None:
    """Text, codes and noise are seeded; only the order of sums may differ with what is computed beside it."""
    first = await speak(triton, new_session(), spoken_turn())
    second = await speak(triton, new_session(), spoken_turn())
    assert first[0] == second[0]
    assert likeness_db(first[1], second[1]) > 30


async def test_many_turns_at_once_stay_apart(triton: Triton) -> None:
    """Batched together, each is the turn it would be alone."""
    alone = await speak(triton, new_session(), spoken_turn())
    together = await asyncio.gather(*(speak(triton, new_session(), spoken_turn()) for _ in range(4)))
    assert [text for text, _ in together] == [alone[0]] * 4
    assert [likeness_db(alone[1], sound) > 30 for _, sound in together] == [True] * 4


@pytest.mark.parametrize("stage", Stage)
async def test_a_request_that_cannot_be_read_leaves_the_stage_serving(triton: Triton, stage: Stage) -> None:
    """The failure is typed, final comes once, and the next turn is as if nothing had been."""
    async with triton.stream(stage) as stream:
        await stream.ask(SESSION=new_session(), TURN='{"no": "such field"}')
        answers = await stream.read_rest()
    assert failures(answers) == ["invalid_request"]
    assert is_final_last(answers)
    _, sound = await speak(triton, new_session(), spoken_turn())
    assert sound.size


async def test_a_turn_that_fails_in_the_stage_leaves_it_serving(triton: Triton) -> None:
    """A picture that is announced and not sent is the thinker's to refuse."""
    turn = '{"messages": [{"role": "user", "content": [{"type": "image", "height": 28, "width": 28}]}]}'
    async with triton.stream(Stage.THINKER) as stream:
        await stream.ask(SESSION=new_session(), TURN=turn)
        answers = await stream.read_rest()
    assert len(failures(answers)) == 1
    assert is_final_last(answers)
    text, _ = await speak(triton, new_session(), spoken_turn())
    assert text


async def test_a_session_cannot_be_opened_twice(triton: Triton) -> None:
    """The second opening is refused through its own sender; the first goes on."""
    session = new_session()
    async with triton.stream(Stage.TALKER) as stream:
        await stream.ask(SESSION=session, TURN=without_messages(spoken_turn()))
        second = await stream.ask(SESSION=session, TURN=without_messages(spoken_turn()))
        assert failures(await stream.read_until_final(second)) == ["invalid_request"]
        await stream.ask(SESSION=session, CANCEL=True)
        assert failures(await stream.read_rest()) == ["cancelled"]


@pytest.mark.parametrize("stage", [Stage.TALKER, Stage.CODE2WAV])
async def test_a_cancel_request_ends_a_turn_that_waits(triton: Triton, stage: Stage) -> None:
    """Both requests get their one final flag."""
    session = new_session()
    async with triton.stream(stage) as stream:
        await stream.ask(SESSION=session, TURN=without_messages(spoken_turn()))
        await stream.ask(SESSION=session, CANCEL=True)
        answers = await stream.read_rest()
    assert sorted((answer.request, answer.final) for answer in answers) == [("1", True), ("2", True)]
    assert failures(answers) == ["cancelled"]


@pytest.mark.parametrize("stage", [Stage.TALKER, Stage.CODE2WAV])
async def test_a_client_that_leaves_ends_its_turn(triton: Triton, stage: Stage) -> None:
    """Seen by the session being free again, though nobody has asked for that."""
    session = new_session()
    async with triton.stream(stage) as leaving:
        await leaving.ask(SESSION=session, TURN=without_messages(spoken_turn()))
        await leaving.ask(SESSION="nobody")  # answered once the turn before it is open
        await leaving.read_until_final("2")
        leaving.cancel()
    async with asyncio.timeout(WAIT_S):
        while await _is_open(triton, stage, session):
            pass


async def _is_open(triton: Triton, stage: Stage, session: str) -> bool:
    """Asks by opening the session anew; cancels what that opened."""
    async with triton.stream(stage) as stream:
        await stream.ask(SESSION=session, TURN=without_messages(spoken_turn()))
        await stream.ask(SESSION=session, CANCEL=True)
        found = failures(await stream.read_rest())
    return found == ["invalid_request"]


@pytest.mark.parametrize("stage", [Stage.TALKER, Stage.CODE2WAV])
async def test_input_for_a_turn_that_has_ended_is_harmless(triton: Triton, stage: Stage) -> None:
    """It is answered with nothing but the final flag."""
    async with triton.stream(stage) as stream:
        await stream.ask(SESSION=new_session(), LAST=True)
        answers = await stream.read_rest()
    assert [(answer.final, answer.failure, answer.tensors) for answer in answers] == [(True, None, {})]


async def test_a_turn_without_speech_is_text_only(triton: Triton) -> None:
    """The thinker hands on no states."""
    turn = Turn(messages=spoken_turn().messages, sampling=spoken_turn().sampling)
    answers = await think(triton, new_session(), turn)
    assert is_final_last(answers)
    assert "".join(answer.text(Tensor.TEXT) for answer in answers if answer.tensors)
    assert [answer.tensors[Tensor.STATES].size for answer in answers if answer.tensors] == [0] * (
        len(answers) - 1
    )


def test_what_runs_ahead_gives_way_to_what_is_heard(colocated: Served) -> None:
    thinker, talker, code2wav = (find_stage(colocated, stage).nice() for stage in Stage)
    assert thinker == talker > code2wav == psutil.Process().nice()
