"""`config.pbtxt` says what `tercet_wire.names` says."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]  # ships no types
from tercet_wire.names import ENSEMBLE, Stage, Tensor
from tritonclient.grpc import model_config_pb2

REPOSITORY = Path(__file__).parents[2] / "model_repo"
SHAPES = {
    Tensor.SESSION: ("TYPE_STRING", [1]),
    Tensor.TURN: ("TYPE_STRING", [1]),
    Tensor.CANCEL: ("TYPE_BOOL", [1]),
    Tensor.PIXELS: ("TYPE_UINT8", [-1]),
    Tensor.SAMPLES: ("TYPE_FP32", [-1]),
    Tensor.TEXT: ("TYPE_STRING", [1]),
    Tensor.TOKENS: ("TYPE_INT32", [-1]),
    Tensor.STATES: ("TYPE_UINT8", [-1, -1]),
    Tensor.POSITIONS: ("TYPE_INT32", [3, -1]),
    Tensor.CODES: ("TYPE_INT32", [-1]),
    Tensor.LAST: ("TYPE_BOOL", [1]),
    Tensor.PCM: ("TYPE_INT16", [-1]),
    Tensor.EVENT: ("TYPE_STRING", [1]),
}


def read_config(model: str) -> Any:
    text = (REPOSITORY / model / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize("model", [*Stage, ENSEMBLE])
def test_each_tensor_is_the_one_in_the_table(model: str) -> None:
    """Names, types and shapes are spelled in the wire package; Triton needs them a second time."""
    config = read_config(model)
    for tensor in [*config.input, *config.output]:
        kind = model_config_pb2.DataType.Name(tensor.data_type)
        assert (kind, list(tensor.dims)) == SHAPES[Tensor(tensor.name)], tensor.name


@pytest.mark.parametrize("stage", Stage)
def test_a_stage_takes_single_requests_and_answers_as_it_likes(stage: Stage) -> None:
    """Only SESSION is required, since a cancel brings nothing else."""
    config = read_config(stage)
    assert (config.name, config.max_batch_size, config.model_transaction_policy.decoupled) == (stage, 0, True)
    assert [tensor.name for tensor in config.input if not tensor.optional] == ["SESSION"]


def test_the_ensemble_joins_outputs_to_inputs_of_the_same_tensor() -> None:
    """Each step gets everything the stage before it makes, and what it maps exists."""
    ensemble = read_config(ENSEMBLE)
    known = {tensor.name: tensor.name for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        stage = read_config(step.model_name)
        assert set(step.input_map) <= {tensor.name for tensor in stage.input}
        assert {name: known[value] for name, value in step.input_map.items()} == {
            name: name for name in step.input_map
        }
        assert set(step.output_map) <= {tensor.name for tensor in stage.output}
        known |= {value: name for name, value in step.output_map.items()}
    assert [step.model_name for step in ensemble.ensemble_scheduling.step] == list(Stage)
    assert {tensor.name for tensor in ensemble.output} <= set(known)
