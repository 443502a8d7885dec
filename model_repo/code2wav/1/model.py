"""Code2wav as a Triton model: codes in, PCM out.

Loaded by Triton's Python backend. It names the tensors; the conversation with Triton is in `tercet_host`,
the network in `tercet_engine`.
"""

from tercet_host.watchdog import Watchdog

WATCHDOG = Watchdog.start()  # before the imports that take long

from typing import Any

import numpy as np
from tercet_engine.code2wav.stage import load_code2wav
from tercet_engine.stage import Code2WavInput, Code2WavOutput
from tercet_host.response_sink import Envelope
from tercet_host.stage_host import StageHost, begin_stage
from tercet_host.tensors import Inputs, TritonTensor, build_array, build_flag, build_text
from tercet_wire.messages import StageEvent, Turn
from tercet_wire.names import Stage, Tensor

NO_PCM = Code2WavOutput(pcm=np.empty(0, np.int16), last=False, event=StageEvent())


class TritonPythonModel:
    def initialize(self, args: dict[str, Any]) -> None:
        engine = load_code2wav(begin_stage(Stage.CODE2WAV))
        self._host = StageHost(
            engine,
            stage=Stage.CODE2WAV,
            parse=parse_input,
            render=render_output,
            passing=NO_PCM,
            watchdog=WATCHDOG,
        )

    def execute(self, requests: list[Any]) -> None:
        self._host.execute(requests)

    def finalize(self) -> None:
        self._host.shutdown()


def parse_input(inputs: Inputs, turn: Turn | None) -> Code2WavInput:
    return Code2WavInput(turn=turn, codes=inputs.integers(Tensor.CODES), last=inputs.flag(Tensor.LAST))


def render_output(output: Code2WavOutput, envelope: Envelope) -> list[TritonTensor]:
    return [
        build_text(Tensor.TEXT, envelope.text),
        build_array(Tensor.PCM, output.pcm),
        build_flag(Tensor.LAST, output.last),
        build_text(Tensor.EVENT, output.event.model_dump_json()),
    ]
