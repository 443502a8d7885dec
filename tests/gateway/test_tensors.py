"""Triton's messages to and from blobs."""

import struct

import pytest
from tercet_gateway.errors import GatewayError, ReplicaRefused
from tercet_gateway.stages.blobs import Blob, flag_blob, json_blob, read_bytes, read_flag, text_blob
from tercet_gateway.stages.messages import Code2WavMessage, ThinkerMessage
from tercet_gateway.stages.stream import parse_failure
from tercet_gateway.stages.tensors import ask_for_final_response, build_request, is_final, parse_response
from tercet_wire.messages import StageEvent, StageFailure, Usage
from tercet_wire.names import Stage, Tensor
from tritonclient.grpc.service_pb2 import ModelInferResponse


def response(**tensors: Blob) -> ModelInferResponse:
    built = ModelInferResponse(id="t1")
    for name, blob in tensors.items():
        built.outputs.add(name=name, datatype=blob.datatype, shape=blob.shape)
        built.raw_output_contents.append(blob.data)
    return built


def raw(data: bytes) -> Blob:
    return Blob(datatype="BYTES", shape=(1,), data=data)


def test_request_holds_the_blobs_as_they_are() -> None:
    """Names, types, shapes and bytes, in one order."""
    states = Blob(datatype="UINT8", shape=(2, 3), data=b"abcdef")
    request = build_request(Stage.TALKER, "t1", {Tensor.STATES: states, Tensor.LAST: flag_blob(True)})
    assert (request.model_name, request.id) == ("talker", "t1")
    inputs = [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in request.inputs]
    assert inputs == [("STATES", "UINT8", [2, 3]), ("LAST", "BOOL", [1])]
    assert list(request.raw_input_contents) == [b"abcdef", b"\x01"]
    assert "triton_enable_empty_final_response" not in request.parameters
    ask_for_final_response(request)
    assert request.parameters["triton_enable_empty_final_response"].bool_param


def test_thinker_response_is_parsed() -> None:
    """Text and event are read, states are carried."""
    event = StageEvent(finish_reason="stop", usage=Usage(prompt_tokens=3))
    states = Blob(datatype="UINT8", shape=(1, 2), data=b"xy")
    told = response(TEXT=text_blob("é"), STATES=states, LAST=flag_blob(True), EVENT=json_blob(event))
    message = parse_response(Stage.THINKER, told)
    assert isinstance(message, ThinkerMessage)
    assert (message.text, message.states, message.last, message.event) == ("é", states, True, event)
    assert message.positions.data == b""


def test_response_may_leave_tensors_out() -> None:
    """What is not there is empty, false or the default."""
    message = parse_response(Stage.CODE2WAV, response())
    assert message == Code2WavMessage(pcm=b"", last=False, event=StageEvent())


MALFORMED = {
    "text shorter than it says": {"TEXT": raw(struct.pack("<I", 9) + b"abc")},
    "text without a length": {"TEXT": raw(b"ab")},
    "text that is not UTF-8": {"TEXT": raw(struct.pack("<I", 1) + b"\xff")},
    "an event that is not one": {"EVENT": text_blob("{}}")},
    "an event with an unknown field": {"EVENT": text_blob('{"mood": 1}')},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_response_is_a_value_error(case: str) -> None:
    """The stream turns it into a failed turn."""
    with pytest.raises(ValueError, match=r".+"):
        parse_response(Stage.THINKER, response(**MALFORMED[case]))


def test_final_flag() -> None:
    """Absent and false are not final."""
    told = response()
    assert not is_final(told)
    told.parameters["triton_final_response"].bool_param = False
    assert not is_final(told)
    told.parameters["triton_final_response"].bool_param = True
    assert is_final(told)


@pytest.mark.parametrize("text", ["", "é", "x" * 100_000])
def test_text_survives(text: str) -> None:
    """With Triton's length before it."""
    assert read_bytes(text_blob(text)) == text.encode()
    assert read_bytes(None) == b""


def test_flags() -> None:
    """One byte."""
    assert [read_flag(flag_blob(True)), read_flag(flag_blob(False)), read_flag(None)] == [True, False, False]


FAILURES: dict[str, tuple[str, type[GatewayError], int, str | None]] = {
    "full": (
        StageFailure(type="overloaded", message="m").model_dump_json(),
        ReplicaRefused,
        503,
        "overloaded",
    ),
    "going": (
        StageFailure(type="cancelled", message="m").model_dump_json(),
        ReplicaRefused,
        503,
        "upstream_unavailable",
    ),
    "broken": (StageFailure(type="internal", message="m").model_dump_json(), GatewayError, 500, None),
    "Triton's own": ("Stub process is not healthy.", ReplicaRefused, 503, "upstream_unavailable"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failure_of_a_stage(case: str) -> None:
    """The text is for the log; the caller hears what to do."""
    text, kind, status, code = FAILURES[case]
    error = parse_failure(text)
    assert isinstance(error, kind)
    assert (error.status, error.code) == (status, code)
    assert error.detail in {"m", text}
