"""The seam between a stage and its host.

A stage is opened once per turn, fed as its inputs come, and answers through a sink. Hosts are the Triton
adapters in `model_repo/`, the tests and the benchmarks; none of them knows what happens behind the seam,
and nothing behind it knows its host.
"""

from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tercet_wire.messages import Load, StageEvent, StageFailure, Turn

_NO_PIXELS: NDArray[np.uint8] = np.empty(0, np.uint8)
_NO_SAMPLES: NDArray[np.float32] = np.empty(0, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkerInput:
    """A whole request; `pixels` and `samples` are flat, cut up by the parts of `turn.messages`."""

    turn: Turn
    pixels: NDArray[np.uint8] = field(default_factory=lambda: _NO_PIXELS)
    samples: NDArray[np.float32] = field(default_factory=lambda: _NO_SAMPLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkerOutput:
    """What was decoded since the last output.

    `states` (rows, talker hidden), on the CPU: the prompt's rows first, as many as `positions` (3, k) has
    columns, then a row for each reply token that has been fed back. `last`: no more states follow.
    Both are empty for a turn without speech.
    """

    text: str
    tokens: tuple[int, ...]
    states: torch.Tensor
    positions: torch.Tensor
    last: bool
    event: StageEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkerInput:
    """Laid out as ThinkerOutput's fields of the same names. `turn` is given on open only."""

    states: torch.Tensor
    positions: torch.Tensor
    last: bool
    turn: Turn | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkerOutput:
    """Codes of one window, without the end code. `last`: the talker has ended."""

    codes: tuple[int, ...]
    last: bool
    event: StageEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Code2WavInput:
    codes: tuple[int, ...]
    last: bool
    turn: Turn | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Code2WavOutput:
    """PCM, 24 kHz mono. `last`: the sound is complete."""

    pcm: NDArray[np.int16]
    last: bool
    event: StageEvent


Input_contra = TypeVar("Input_contra", contravariant=True)
Output_contra = TypeVar("Output_contra", contravariant=True)
Output_co = TypeVar("Output_co", covariant=True)


class Sink(Protocol[Output_contra]):
    """Where a turn's outputs go. Called from the stage's thread; must not block."""

    def send(self, output: Output_contra) -> None: ...

    def close(self, failure: StageFailure | None = None) -> None:
        """Called exactly once, whatever happens; nothing is sent after it."""

    def is_cancelled(self) -> bool:
        """True once the client has gone; looked at several times a second."""


class StageEngine(Protocol[Input_contra, Output_co]):
    """One stage on its devices. Every method may be called from any thread and returns at once.

    A failing turn closes its own sink with a StageFailure; it never raises here and never ends the stage.
    """

    def open(self, session: str, first: Input_contra, sink: Sink[Output_co]) -> None:
        """Begin a turn. A session that is already open is refused through the new sink."""

    def feed(self, session: str, more: Input_contra) -> None:
        """Give a running turn more input; a turn that has ended ignores it."""

    def cancel(self, session: str) -> None:
        """End a turn now (its sink is closed as cancelled); unknown sessions are ignored."""

    def load(self) -> Load: ...

    def shutdown(self) -> None:
        """Fail all turns as cancelled and stop the stage's threads."""


class StageError(Exception):
    """Ends one turn; becomes the StageFailure that its sink is closed with."""

    def __init__(self, failure: StageFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure
