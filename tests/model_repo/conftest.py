"""The stages' Triton models, loaded the way Triton loads them, over a fake backend and a fake stage."""

import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from tercet_engine.stage import Sink
from tercet_wire.messages import Load
from tercet_wire.names import SETTINGS_DIR_VARIABLE, TURNS_METRIC, Stage
from tercet_wire.settings import StageSettings

REPOSITORY = Path(__file__).parents[2] / "model_repo"
FINAL = 1


@dataclass
class FakeTensor:
    name: str
    values: NDArray[Any]

    def as_numpy(self) -> NDArray[Any]:
        return self.values


@dataclass
class FakeError:
    text: str


@dataclass
class FakeResponse:
    output_tensors: Sequence[FakeTensor] = ()
    error: FakeError | None = None

    def __getitem__(self, name: str) -> Any:
        (values,) = [tensor.values for tensor in self.output_tensors if tensor.name == name]
        return values


@dataclass
class FakeSender:
    """Keeps what was sent, and wakes whoever waits for the final flag."""

    responses: list[FakeResponse] = field(default_factory=list)
    finals: int = 0
    cancelled: bool = False
    broken: bool = False
    """Takes no more outputs."""
    full: bool = False
    """Takes nothing but flags."""
    ended: threading.Event = field(default_factory=threading.Event)

    def send(self, response: FakeResponse | None = None, flags: int = 0) -> None:
        if (self.broken and not flags) or (self.full and response is not None):
            raise RuntimeError("the server took no response")
        if response is not None:
            self.responses.append(response)
        if flags & FINAL:
            self.finals += 1
            self.ended.set()

    def is_cancelled(self) -> bool:
        return self.cancelled

    def wait(self) -> list[FakeResponse]:
        assert self.ended.wait(10), "no final flag"
        return self.responses


class FakeRequest:
    def __init__(self, **tensors: Any) -> None:
        self.tensors = {name: FakeTensor(name, _tensor_values(value)) for name, value in tensors.items()}
        self.sender = FakeSender()

    def get_response_sender(self) -> FakeSender:
        return self.sender


def _tensor_values(value: Any) -> NDArray[Any]:
    if isinstance(value, str):
        return np.array([value.encode()], dtype=np.object_)
    values: NDArray[Any] = np.atleast_1d(np.asarray(value))
    return values


class FakeLogger:
    @staticmethod
    def log_error(text: str) -> None:
        sys.stderr.write(text)


@dataclass
class FakeMetric:
    labels: dict[str, str]
    shown: list[float] = field(default_factory=list)

    def set(self, value: float) -> None:
        self.shown.append(value)


@dataclass
class FakeMetricFamily:
    """Its metrics are kept by the class, since only the server sees them."""

    name: str
    description: str
    kind: str
    GAUGE: ClassVar[str] = "gauge"
    metrics: ClassVar[list[FakeMetric]] = []

    def Metric(self, *, labels: dict[str, str]) -> FakeMetric:  # noqa: N802  # Triton's name
        assert (self.name, self.kind) == (TURNS_METRIC, self.GAUGE)
        self.metrics.append(FakeMetric(labels))
        return self.metrics[-1]


def _input_by_name(request: FakeRequest, name: str) -> FakeTensor | None:
    return request.tensors.get(name)


@pytest.fixture(scope="session", autouse=True)
def _backend() -> None:
    """Triton's own module exists only inside its stub; nothing else in the tests imports it."""
    module = ModuleType("triton_python_backend_utils")
    vars(module).update(
        Tensor=FakeTensor,
        InferenceResponse=FakeResponse,
        TritonError=FakeError,
        Logger=FakeLogger,
        MetricFamily=FakeMetricFamily,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=FINAL,
        get_input_tensor_by_name=_input_by_name,
    )
    sys.modules[module.__name__] = module


@dataclass
class FakeEngine:
    """Keeps what it was given; a test plays the stage through `sinks`."""

    settings: StageSettings
    opened: dict[str, Any] = field(default_factory=dict)
    sinks: dict[str, Sink[Any]] = field(default_factory=dict)
    fed: list[tuple[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    fault: Exception | None = None
    stopped: bool = False

    def open(self, session: str, first: Any, sink: Sink[Any]) -> None:
        if self.fault is not None:
            raise self.fault
        self.opened[session] = first
        self.sinks[session] = sink

    def feed(self, session: str, more: Any) -> None:
        self.fed.append((session, more))

    def cancel(self, session: str) -> None:
        self.cancelled.append(session)

    def load(self) -> Load:
        return Load()

    def shutdown(self) -> None:
        self.stopped = True


@dataclass
class LoadedModel:
    model: Any
    engine: FakeEngine
    gauge: FakeMetric

    def ask(self, **tensors: Any) -> FakeSender:
        request = FakeRequest(**tensors)
        assert self.model.execute([request]) is None
        return request.sender


Loader = Callable[..., LoadedModel]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Loader]:
    """Imports `model_repo/<stage>/1/model.py` as Triton does, as "1.model" with two folders on the path."""
    models: list[LoadedModel] = []
    monkeypatch.setenv(SETTINGS_DIR_VARIABLE, str(tmp_path))

    def load_model(stage: Stage, dtype: str = "float32") -> LoadedModel:
        settings = StageSettings.model_validate({"stage": stage, "checkpoint": "none", "dtype": dtype})
        (tmp_path / f"{stage}.json").write_text(settings.model_dump_json())
        engines: list[FakeEngine] = []

        def load_stage(settings: StageSettings) -> FakeEngine:
            engines.append(FakeEngine(settings))
            return engines[-1]

        home = "tercet_engine.code2wav.stage" if stage is Stage.CODE2WAV else f"tercet_engine.{stage}"
        engine_module = ModuleType(home)
        setattr(engine_module, f"load_{stage}", load_stage)
        monkeypatch.setitem(sys.modules, home, engine_module)
        monkeypatch.syspath_prepend(REPOSITORY / stage / "1")
        monkeypatch.syspath_prepend(REPOSITORY / stage)
        for name in [name for name in sys.modules if name == "1" or name.startswith("1.")]:
            monkeypatch.delitem(sys.modules, name)
        model = importlib.import_module("1.model").TritonPythonModel()
        model.initialize({})
        models.append(LoadedModel(model, engines[0], FakeMetricFamily.metrics[-1]))
        return models[-1]

    yield load_model
    for loaded in models:
        loaded.model.finalize()
