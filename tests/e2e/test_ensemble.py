"""The native ensemble of a Colocated server, asked with NVIDIA's own client."""

import queue
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from tercet_wire.messages import Turn
from tercet_wire.names import ENSEMBLE, Stage
from tritonclient.grpc import InferenceServerClient, InferInput

from tests.e2e.served import Served
from tests.e2e.triton_client import Triton
from tests.e2e.turns import likeness_db, speak, spoken_turn

ANSWER_S = 60
DOCUMENT = Path(__file__).parents[2] / "docs" / "ensemble.md"


@pytest.fixture
def client(colocated: Served) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(colocated.triton["thinker"][0]) as opened:
        yield opened


def text_input(name: str, value: str) -> InferInput:
    tensor = InferInput(name, [1], "BYTES")
    tensor.set_data_from_numpy(np.array([value.encode()], np.object_))
    return tensor


def ask(client: InferenceServerClient, turn: Turn) -> tuple[str, Any]:
    """One request in; text and sound out, until the final flag."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    inputs = [text_input("SESSION", uuid4().hex), text_input("TURN", turn.model_dump_json())]
    client.async_stream_infer(ENSEMBLE, inputs, enable_empty_final_response=True)
    text, sound = "", [np.empty(0, np.int16)]
    while True:
        result, error = answers.get(timeout=ANSWER_S)
        assert error is None, error
        response = result.get_response()
        if response.parameters["triton_final_response"].bool_param:
            break
        text += result.as_numpy("TEXT")[0].decode()
        sound.append(result.as_numpy("PCM"))
    client.stop_stream()
    return text, np.concatenate(sound)


async def test_it_says_and_sounds_what_the_stages_do(client: InferenceServerClient, triton: Triton) -> None:
    """One call in place of three; no PIXELS and no SAMPLES need be given."""
    text, sound = ask(client, spoken_turn())
    expected_text, expected_sound = await speak(triton, uuid4().hex, spoken_turn())
    assert text == expected_text
    assert likeness_db(expected_sound, sound) > 30


def test_a_turn_without_speech_gives_text(client: InferenceServerClient) -> None:
    """The text passes the two stages that have nothing to do."""
    turn = spoken_turn().model_copy(update={"speech": None})
    text, sound = ask(client, turn)
    assert text
    assert sound.size == 0


def test_the_example_in_the_documentation_runs(colocated: Served) -> None:
    """docs/ensemble.md, with the port of this server."""
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert "127.0.0.1:8101" in example
    program = example.replace("127.0.0.1:8101", colocated.triton["thinker"][0])
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=ANSWER_S, check=False
    )
    assert ran.returncode == 0, ran.stderr
    sounding = [line for line in ran.stdout.splitlines() if not line.endswith(" 0 samples")]
    assert sounding


def test_it_is_ready_with_its_stages(client: InferenceServerClient) -> None:
    """A Colocated server offers all four models."""
    assert [client.is_model_ready(model) for model in (*Stage, ENSEMBLE)] == [True] * 4
