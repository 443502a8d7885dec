"""Runs the product's own engines on a checkpoint, in this process: text and sound of a turn, or sound of
codes.
"""

import queue
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from tercet_engine.code2wav.stage import load_code2wav
from tercet_engine.stage import (
    Code2WavInput,
    StageEngine,
    TalkerInput,
    TalkerOutput,
    ThinkerInput,
    ThinkerOutput,
)
from tercet_engine.talker import load_talker
from tercet_engine.thinker import load_thinker
from tercet_wire.messages import StageFailure, Turn
from tercet_wire.names import Stage
from tercet_wire.settings import Quantization, StageSettings, WindowSettings

from demo.voice.spectra import SAMPLE_RATE_HZ

Output = TypeVar("Output")

_WAIT_S: Final = 300.0
_QUIET: Final = 0.02
"""Of the loudest sample: below it the speech has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    text: str
    codes: tuple[int, ...]


class Model:
    """Thinker, talker and as many code2wavs as there are window settings to compare."""

    def __init__(
        self,
        checkpoint: Path,
        windows: dict[str, WindowSettings],
        threads: int = 2,
        quantization: Quantization = "none",
    ) -> None:
        """`quantization` is for thinker and talker."""
        self._stack = ExitStack()

        def settings(stage: Stage, window: WindowSettings | None = None) -> StageSettings:
            return StageSettings(
                stage=stage,
                checkpoint=str(checkpoint),
                threads=threads,
                quantization="none" if stage is Stage.CODE2WAV else quantization,
                window=window or WindowSettings(),
            )

        self._thinker = load_thinker(settings(Stage.THINKER))
        self._talker = load_talker(settings(Stage.TALKER))
        self._code2wavs = {
            name: load_code2wav(settings(Stage.CODE2WAV, window)) for name, window in windows.items()
        }
        engines: list[StageEngine[Any, Any]] = [self._thinker, self._talker, *self._code2wavs.values()]
        for engine in engines:
            self._stack.callback(engine.shutdown)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def answer(self, given: Sequence[ThinkerInput]) -> list[Spoken]:
        """All at once, in the order given; text only for turns without speech."""
        thoughts = [(each.turn, _start(self._thinker, each)) for each in given]
        talks = [(thought.text, self._talk(turn, thought)) for turn, thought in map(_finish, thoughts)]
        return [Spoken(text=text, codes=() if talk is None else talk.codes()) for text, talk in talks]

    def render(self, windows: str, turn: Turn, codes: tuple[int, ...]) -> NDArray[np.float32]:
        """The sound of one turn's codes, 24 kHz in [-1, 1]."""
        later = turn.model_copy(update={"messages": ()})
        sink = _start(self._code2wavs[windows], Code2WavInput(turn=later, codes=codes, last=True))
        pcm = np.concatenate([output.pcm for output in sink.all()])
        wave: NDArray[np.float32] = pcm.astype(np.float32) / 32_768
        return wave

    def _talk(self, turn: Turn, thought: "_Thought") -> "_Talk | None":
        if turn.speech is None:
            return None
        later = turn.model_copy(update={"messages": ()})
        first, *rest = thought.outputs
        session = uuid4().hex
        sink: _Inbox[TalkerOutput] = _Inbox()
        self._talker.open(session, _hand_on(first, later), sink)
        for output in rest:
            self._talker.feed(session, _hand_on(output))
        return _Talk(sink)


def measure_quiet_end(wave: NDArray[np.float32]) -> float:
    """Seconds from the last sound to the end."""
    loud = np.flatnonzero(np.abs(wave) > _QUIET * np.abs(wave).max())
    return float(len(wave) - 1 - loud[-1]) / SAMPLE_RATE_HZ if len(loud) else len(wave) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class _Thought:
    outputs: list[ThinkerOutput]

    @property
    def text(self) -> str:
        return "".join(output.text for output in self.outputs)


@dataclass(frozen=True, slots=True)
class _Talk:
    sink: "_Inbox[TalkerOutput]"

    def codes(self) -> tuple[int, ...]:
        return tuple(code for output in self.sink.all() for code in output.codes)


class _Inbox(Generic[Output]):
    """A sink that keeps everything until it is asked for."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Output | StageFailure | None] = queue.SimpleQueue()

    def send(self, output: Output) -> None:
        self._queue.put(output)

    def close(self, failure: StageFailure | None = None) -> None:
        self._queue.put(failure)

    def is_cancelled(self) -> bool:
        return False

    def all(self) -> list[Output]:
        """Wait for the turn's end."""
        outputs: list[Output] = []
        while (output := self._queue.get(timeout=_WAIT_S)) is not None:
            match output:
                case StageFailure(message=message):
                    raise RuntimeError(message)
                case _:
                    outputs.append(output)
        return outputs


def _start(engine: Any, given: Any) -> _Inbox[Any]:
    sink: _Inbox[Any] = _Inbox()
    engine.open(uuid4().hex, given, sink)
    return sink


def _finish(begun: tuple[Turn, _Inbox[ThinkerOutput]]) -> tuple[Turn, _Thought]:
    turn, sink = begun
    return turn, _Thought(sink.all())


def _hand_on(output: ThinkerOutput, turn: Turn | None = None) -> TalkerInput:
    return TalkerInput(states=output.states, positions=output.positions, last=output.last, turn=turn)
