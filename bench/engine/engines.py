"""The three stages of a run, loaded when first asked for: in this process, or each in one of its own.

A stage of its own process is reached over a pipe with the same methods, so that all measurements can be
taken of either. Nothing of Triton or the gateway is in it: what it adds to a stage in this process is the
pickling, the pipe and the sharing of the device.
"""

import gc
import pickle
import resource
import threading
from collections.abc import Callable
from functools import cached_property
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

import torch
from tercet_engine.checkpoint import Checkpoint, open_checkpoint
from tercet_engine.code2wav.stage import load_code2wav
from tercet_engine.stage import (
    Code2WavInput,
    Code2WavOutput,
    Sink,
    StageEngine,
    TalkerInput,
    TalkerOutput,
    ThinkerInput,
    ThinkerOutput,
)
from tercet_engine.talker import load_talker
from tercet_engine.thinker import load_thinker
from tercet_wire.messages import Load
from tercet_wire.names import Stage
from tercet_wire.settings import StageSettings

from bench.engine.plans import Plan
from bench.engine.turns import Ends

GIB: Final = 2**30
KV_BYTES: Final = {Stage.THINKER: 8 * GIB, Stage.TALKER: 2 * GIB, Stage.CODE2WAV: GIB}
"""As in examples/qwen-7b-one-gpu.yaml, and half for the talker; code2wav has none."""
DEMO_KV_BYTES: Final = {"tiny": 64 * 2**20, "bench": GIB}
THREADS: Final = 4
MOST_TURNS: Final = 64
CHUNK_TOKENS: Final = 2048
NO_LIMIT: Final = 1e9
"""What more turns than code2wav has time for do to each other is to be seen."""
LOADERS: Final[dict[Stage, Callable[[StageSettings], StageEngine[Any, Any]]]] = {
    Stage.THINKER: load_thinker,
    Stage.TALKER: load_talker,
    Stage.CODE2WAV: load_code2wav,
}
LOAD_S: Final = 300.0


def build_settings(plan: Plan, stage: Stage, **changes: Any) -> StageSettings:
    """code2wav in float32 whatever the others have, as the reference."""
    is_last = stage is Stage.CODE2WAV
    given: dict[str, Any] = {
        "stage": stage,
        "checkpoint": str(plan.weights),
        "dtype": "float32" if is_last else plan.dtype,
        "devices": (plan.device,),
        "threads": THREADS if plan.device.startswith("cuda") else 1,
        "max_turns": MOST_TURNS,
        "kv_bytes": DEMO_KV_BYTES.get(plan.model, KV_BYTES[stage]),
        "chunk_tokens": CHUNK_TOKENS,
        "max_load": NO_LIMIT,
    }
    return StageSettings.model_validate({**given, **changes})


def read_ends(plan: Plan, checkpoint: Checkpoint) -> Ends:
    if plan.checkpoint is None:
        return Ends()
    talker = checkpoint.config.talker_config
    return Ends(
        tokens=tuple(checkpoint.end_tokens),
        codes=(talker.tts_codec_end_token_id, talker.tts_codec_pad_token_id),
    )


class Engines:
    """In this process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._open: list[StageEngine[Any, Any]] = []

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return open_checkpoint(self.plan.weights)

    @cached_property
    def ends(self) -> Ends:
        return read_ends(self.plan, self.checkpoint)

    @cached_property
    def thinker(self) -> StageEngine[ThinkerInput, ThinkerOutput]:
        return self.load(build_settings(self.plan, Stage.THINKER))

    @cached_property
    def talker(self) -> StageEngine[TalkerInput, TalkerOutput]:
        return self.load(build_settings(self.plan, Stage.TALKER))

    @cached_property
    def code2wav(self) -> StageEngine[Code2WavInput, Code2WavOutput]:
        return self.load(build_settings(self.plan, Stage.CODE2WAV))

    def load(self, settings: StageSettings) -> StageEngine[Any, Any]:
        """Another engine of a stage, which `close` ends too."""
        engine = LOADERS[settings.stage](settings)
        self._open.append(engine)
        return engine

    def close(self) -> None:
        """What has been loaded is gone, its memory too, and would be loaded anew."""
        for engine in self._open:
            engine.shutdown()
        self._open.clear()
        for name in ("thinker", "talker", "code2wav"):
            self.__dict__.pop(name, None)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class ApartEngines(Engines):
    """Each stage in a process of its own."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.stages: dict[Stage, RemoteStage] = {}

    def load(self, settings: StageSettings) -> StageEngine[Any, Any]:
        engine = self.stages[settings.stage] = RemoteStage(settings)
        self._open.append(engine)
        return engine


class RemoteStage:
    """A StageEngine in another process."""

    def __init__(self, settings: StageSettings) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=host, args=(theirs, settings), daemon=True)
        self._process.start()
        theirs.close()
        self._sinks: dict[str, Sink[Any]] = {}
        self._lock = threading.Lock()
        self._memory: dict[str, int] = {}
        self._told = threading.Event()
        if not self._pipe.poll(LOAD_S):
            raise TimeoutError(f"the {settings.stage} was not loaded in {LOAD_S:.0f} s")
        self._pipe.recv_bytes()
        threading.Thread(target=self._listen, daemon=True).start()

    def open(self, session: str, first: Any, sink: Sink[Any]) -> None:
        self._sinks[session] = sink
        self._send("open", session, first)

    def feed(self, session: str, more: Any) -> None:
        self._send("feed", session, more)

    def cancel(self, session: str) -> None:
        self._send("cancel", session, None)

    def load(self) -> Load:
        return Load()

    def shutdown(self) -> None:
        self._send("shutdown", "", None)
        self._process.join(LOAD_S)

    def read_memory(self) -> dict[str, int]:
        """Bytes on its device: the most while it loaded, what was then left, and the most since."""
        self._told.clear()
        self._send("memory", "", None)
        if not self._told.wait(LOAD_S):
            raise TimeoutError("the stage does not answer")
        return self._memory

    def _send(self, *message: Any) -> None:
        with self._lock:
            self._pipe.send_bytes(pickle.dumps(message))

    def _listen(self) -> None:
        while True:
            try:
                kind, session, content = pickle.loads(self._pipe.recv_bytes())
            except (EOFError, OSError):
                return  # it has ended
            match kind:
                case "output":
                    self._sinks[session].send(content)
                case "end":
                    self._sinks.pop(session).close(content)
                case _:
                    self._memory = content
                    self._told.set()


class _PipeSink:
    """The other end of a turn's sink."""

    def __init__(self, send: Callable[..., None], session: str) -> None:
        self._send = send
        self._session = session

    def send(self, output: Any) -> None:
        self._send("output", self._session, output)

    def close(self, failure: Any = None) -> None:
        self._send("end", self._session, failure)

    def is_cancelled(self) -> bool:
        return False


def host(pipe: Connection, settings: StageSettings) -> None:
    """The whole life of a stage's process."""
    engine = LOADERS[settings.stage](settings)
    memory = {"loading": read_peak(), "loaded": read_used()}
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    lock = threading.Lock()

    def send(*message: Any) -> None:
        with lock:
            pipe.send_bytes(pickle.dumps(message))

    send("loaded", "", None)
    while True:
        kind, session, content = pickle.loads(pipe.recv_bytes())
        match kind:
            case "open":
                engine.open(session, content, _PipeSink(send, session))
            case "feed":
                engine.feed(session, content)
            case "cancel":
                engine.cancel(session)
            case "memory":
                send("memory", "", {**memory, "running": read_peak()})
            case _:
                engine.shutdown()
                return


def read_peak() -> int:
    """Most bytes in use: on the GPU, or where there is none, of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_used() -> int:
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else read_peak()
