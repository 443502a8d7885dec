"""The talker as a Triton model: the thinker's states in, codes out.

Loaded by Triton's Python backend. It names the tensors; the conversation with Triton is in `tercet_host`,
the network in `tercet_engine`.
"""

from tercet_host.watchdog import Watchdog

WATCHDOG = Watchdog.start()  # before the imports that take long

from typing import Any

import torch
from tercet_engine.stage import TalkerInput, TalkerOutput
from tercet_engine.talker import load_talker
from tercet_host.response_sink import Envelope
from tercet_host.stage_host import StageHost, begin_stage
from tercet_host.tensors import Inputs, TritonTensor, build_flag, build_integers, build_text
from tercet_wire.messages import StageEvent, Turn
from tercet_wire.names import Stage, Tensor

NO_CODES = TalkerOutput(codes=(), last=False, event=StageEvent())


class TritonPythonModel:
    def initialize(self, args: dict[str, Any]) -> None:
        settings = begin_stage(Stage.TALKER)
        self._dtype: torch.dtype = getattr(torch, settings.dtype)
        self._host = StageHost(
            load_talker(settings),
            stage=Stage.TALKER,
            parse=self._parse_input,
            render=render_output,
            passing=NO_CODES,
            watchdog=WATCHDOG,
        )

    def execute(self, requests: list[Any]) -> None:
        self._host.execute(requests)

    def finalize(self) -> None:
        self._host.shutdown()

    def _parse_input(self, inputs: Inputs, turn: Turn | None) -> TalkerInput:
        states, positions = inputs.array(Tensor.STATES), inputs.array(Tensor.POSITIONS)
        return TalkerInput(
            turn=turn,
            states=torch.empty(0, 0, dtype=self._dtype)
            if states is None
            else torch.from_numpy(states).view(self._dtype),  # (rows, bytes) -> (rows, hidden)
            positions=torch.empty(3, 0, dtype=torch.int32)
            if positions is None
            else torch.from_numpy(positions),
            last=inputs.flag(Tensor.LAST),
        )


def render_output(output: TalkerOutput, envelope: Envelope) -> list[TritonTensor]:
    return [
        build_text(Tensor.SESSION, envelope.session),
        build_text(Tensor.TURN, envelope.turn),
        build_text(Tensor.TEXT, envelope.text),
        build_integers(Tensor.CODES, output.codes),
        build_flag(Tensor.LAST, output.last),
        build_text(Tensor.EVENT, output.event.model_dump_json()),
    ]
