"""The demo checkpoint, the oracle and the devices, each made once for all tests of the engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tercet_engine.checkpoint import Checkpoint, open_checkpoint
from tercet_engine.demo import ensure_demo

from tests.engine.reference import Reference


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Where the stages compute; the oracle stays on the CPU, so on a GPU single precision has to be that."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return str(request.param)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_demo("tiny", tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="session")
def checkpoint(demo: Path) -> Checkpoint:
    return open_checkpoint(demo)


@pytest.fixture(scope="session")
def reference(demo: Path) -> Reference:
    return Reference.load(demo)


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """That torch computes with."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
