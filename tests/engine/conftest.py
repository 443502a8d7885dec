"""The demo checkpoint and the oracle, each made once for all tests of the engine."""

from pathlib import Path

import pytest
from tercet_engine.checkpoint import Checkpoint, open_checkpoint
from tercet_engine.demo import ensure_demo

from tests.engine.reference import Reference


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_demo("tiny", tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="session")
def checkpoint(demo: Path) -> Checkpoint:
    return open_checkpoint(demo)


@pytest.fixture(scope="session")
def reference(demo: Path) -> Reference:
    return Reference.load(demo)
