"""The thinker as a Triton model: a turn and its media in; text, tokens and states out.

Loaded by Triton's Python backend. It names the tensors; the conversation with Triton is in `tercet_host`,
the network in `tercet_engine`.
"""

from tercet_host.watchdog import Watchdog

WATCHDOG = Watchdog.start()  # before the imports that take long

from typing import Any

import numpy as np
import torch
from tercet_engine.stage import ThinkerInput, ThinkerOutput
from tercet_engine.thinker import load_thinker
from tercet_host.response_sink import Envelope
from tercet_host.stage_host import StageHost, begin_stage
from tercet_host.tensors import Inputs, TritonTensor, build_array, build_flag, build_integers, build_text
from tercet_wire.messages import Turn
from tercet_wire.names import Stage, Tensor

NO_PIXELS = np.empty(0, np.uint8)
NO_SAMPLES = np.empty(0, np.float32)


class TritonPythonModel:
    def initialize(self, args: dict[str, Any]) -> None:
        engine = load_thinker(begin_stage(Stage.THINKER))
        self._host = StageHost(
            engine, stage=Stage.THINKER, parse=parse_input, render=render_output, watchdog=WATCHDOG
        )

    def execute(self, requests: list[Any]) -> None:
        self._host.execute(requests)

    def finalize(self) -> None:
        self._host.shutdown()


def parse_input(inputs: Inputs, turn: Turn | None) -> ThinkerInput:
    pixels, samples = inputs.array(Tensor.PIXELS), inputs.array(Tensor.SAMPLES)
    return ThinkerInput(
        turn=turn or Turn(),
        pixels=NO_PIXELS if pixels is None else pixels,
        samples=NO_SAMPLES if samples is None else samples,
    )


def render_output(output: ThinkerOutput, envelope: Envelope) -> list[TritonTensor]:
    states = output.states.contiguous().view(torch.uint8)  # (rows, bytes)
    return [
        build_text(Tensor.SESSION, envelope.session),
        build_text(Tensor.TURN, envelope.turn),
        build_text(Tensor.TEXT, output.text),
        build_integers(Tensor.TOKENS, output.tokens),
        build_array(Tensor.STATES, states.numpy()),
        build_array(Tensor.POSITIONS, output.positions.to(torch.int32).numpy()),
        build_flag(Tensor.LAST, output.last),
        build_text(Tensor.EVENT, output.event.model_dump_json()),
    ]
