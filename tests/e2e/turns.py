"""Turns for the demo model, and a hand that carries them from stage to stage."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tercet_wire.messages import ChatMessage, Sampling, Speech, TextPart, Turn
from tercet_wire.names import Stage, Tensor

from tests.e2e.triton_client import Answer, Triton

CARRIED = (Tensor.STATES, Tensor.POSITIONS, Tensor.CODES, Tensor.LAST)
HELLO = (ChatMessage(role="user", content=(TextPart(text="Say something."),)),)


def spoken_turn(tokens: int = 8, codes: int = 40) -> Turn:
    """Seeded, and bounded in text and sound."""
    return Turn(
        messages=HELLO,
        sampling=Sampling(temperature=1.0, seed=7, max_tokens=tokens),
        speech=Speech(voice="Chelsie", sampling=Sampling(seed=7, max_tokens=codes)),
    )


def without_messages(turn: Turn) -> str:
    return turn.model_copy(update={"messages": ()}).model_dump_json()


async def think(triton: Triton, session: str, turn: Turn, **media: Any) -> list[Answer]:
    async with triton.stream(Stage.THINKER) as stream:
        await stream.ask(SESSION=session, TURN=turn.model_dump_json(), **media)
        return await stream.read_rest()


async def relay(
    triton: Triton, stage: Stage, session: str, turn: Turn, answers: list[Answer]
) -> list[Answer]:
    """Give a stage what the stage before it answered, message by message; take its turn's answers."""
    async with triton.stream(stage) as stream:
        opening: dict[str, Any] = {"TURN": without_messages(turn)}
        for answer in answers:
            if answer.tensors:
                carried = {name: answer.tensors[name] for name in CARRIED if name in answer.tensors}
                await stream.ask(SESSION=session, **opening, **carried)
                opening = {}
        return await stream.read_rest()


async def speak(triton: Triton, session: str, turn: Turn) -> tuple[str, NDArray[np.int16]]:
    """A whole turn through the three stages: its text and its sound."""
    said = await think(triton, session, turn)
    coded = await relay(triton, Stage.TALKER, session, turn, said)
    sounded = await relay(triton, Stage.CODE2WAV, session, turn, coded)
    text = "".join(answer.text(Tensor.TEXT) for answer in said if answer.tensors)
    return text, np.concatenate([answer.tensors[Tensor.PCM] for answer in sounded if answer.tensors])


def likeness_db(sound: NDArray[np.int16], other: NDArray[np.int16]) -> float:
    """How far the first stands above what differs; the order of sums alone costs down to some 40 dB."""
    error = sound.astype(np.float64) - other
    power = np.square(sound.astype(np.float64)).mean()
    return float(10 * np.log10(power / max(np.square(error).mean(), 1e-9)))
