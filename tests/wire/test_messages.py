"""Messages survive the wire as JSON, and strangers are refused."""

import pytest
from pydantic import ValidationError
from tercet_wire.messages import (
    AudioPart,
    ChatMessage,
    ImagePart,
    Sampling,
    Speech,
    StageFailure,
    TextPart,
    Turn,
    VideoPart,
)


def test_a_turn_survives_the_wire() -> None:
    """Every kind of part and every setting comes back as it was."""
    parts = (
        TextPart(text="héllo"),
        ImagePart(height=2, width=3),
        AudioPart(samples=5),
        VideoPart(frames=4, height=2, width=2, fps=2.0, samples=9),
    )
    turn = Turn(
        messages=(ChatMessage(role="user", content=parts),),
        sampling=Sampling(temperature=0.5, stop=("a",), logit_bias={7: -1.5}, top_logprobs=2),
        speech=Speech(voice="Ethan", noise_seed=4),
    )
    assert Turn.model_validate_json(turn.model_dump_json()) == turn


@pytest.mark.parametrize(
    "document",
    [
        '{"type": "odd", "message": "m"}',
        '{"type": "internal"}',
        '{"type": "internal", "message": "m", "x": 1}',
    ],
)
def test_a_failure_of_unknown_shape_is_refused(document: str) -> None:
    """Text that is not a StageFailure must not pass for one."""
    with pytest.raises(ValidationError):
        StageFailure.model_validate_json(document)
