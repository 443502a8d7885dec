"""Blobs to and from Triton's protobuf messages; pure, no I/O.

`stages.stream` calls it for each message. Only small tensors are looked into (text, flags, the event); the
others are carried as bytes.
"""

from typing import Final

from tercet_wire.messages import StageEvent
from tercet_wire.names import Stage, Tensor
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

from tercet_gateway.stages.blobs import Blob, Tensors, read_bytes, read_flag
from tercet_gateway.stages.messages import Code2WavMessage, StageMessage, TalkerMessage, ThinkerMessage

_NO_STATES: Final = Blob(datatype="UINT8", shape=(0, 0), data=b"")
_NO_POSITIONS: Final = Blob(datatype="INT32", shape=(3, 0), data=b"")
_NO_CODES: Final = Blob(datatype="INT32", shape=(0,), data=b"")
_NO_EVENT: Final = StageEvent()


def build_request(stage: Stage, request_id: str, tensors: Tensors) -> ModelInferRequest:
    request = ModelInferRequest(model_name=stage, id=request_id)
    for name, blob in tensors.items():
        request.inputs.add(name=name, datatype=blob.datatype, shape=blob.shape)
        request.raw_input_contents.append(blob.data)
    return request


def ask_for_final_response(request: ModelInferRequest) -> None:
    """Without this, a last response that holds no tensors is not sent to us."""
    request.parameters["triton_enable_empty_final_response"].bool_param = True


def is_final(response: ModelInferResponse) -> bool:
    parameters = response.parameters
    return "triton_final_response" in parameters and parameters["triton_final_response"].bool_param


def parse_response(stage: Stage, response: ModelInferResponse) -> StageMessage:
    """Raises ValueError when the stage's answer is not what the contract says."""
    blobs = {
        output.name: Blob(datatype=output.datatype, shape=tuple(output.shape), data=data)
        for output, data in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    last = read_flag(blobs.get(Tensor.LAST))
    event = _parse_event(blobs.get(Tensor.EVENT))
    match stage:
        case Stage.THINKER:
            return ThinkerMessage(
                text=read_bytes(blobs.get(Tensor.TEXT)).decode(),
                states=blobs.get(Tensor.STATES, _NO_STATES),
                positions=blobs.get(Tensor.POSITIONS, _NO_POSITIONS),
                last=last,
                event=event,
            )
        case Stage.TALKER:
            return TalkerMessage(codes=blobs.get(Tensor.CODES, _NO_CODES), last=last, event=event)
        case Stage.CODE2WAV:
            pcm = blobs.get(Tensor.PCM)
            return Code2WavMessage(pcm=b"" if pcm is None else pcm.data, last=last, event=event)


def _parse_event(blob: Blob | None) -> StageEvent:
    data = read_bytes(blob)
    return StageEvent.model_validate_json(data) if data else _NO_EVENT
