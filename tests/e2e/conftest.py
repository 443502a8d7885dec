"""The demo model, served once for all tests that need it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from openai import AsyncOpenAI

from tests.e2e.served import Served, serve, write_variant
from tests.e2e.triton_client import Triton, open_triton


@pytest.fixture(scope="session")
def colocated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One Triton server with all three stages."""
    folder = tmp_path_factory.mktemp("colocated")
    with serve(write_variant(folder / "omni.yaml"), folder / "run") as served:
        yield served


@pytest.fixture(scope="session")
def disaggregated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same model, each stage in a server of its own."""
    folder = tmp_path_factory.mktemp("disaggregated")
    file = write_variant(folder / "omni.yaml", layout="Disaggregated")
    with serve(file, folder / "run") as served:
        yield served


@pytest.fixture
def url(colocated: Served) -> str:
    return colocated.url


@pytest.fixture
async def triton(colocated: Served) -> AsyncIterator[Triton]:
    """The Colocated server's own gRPC, without the gateway."""
    async with open_triton(colocated.triton["thinker"][0]) as opened:
        yield opened


@pytest.fixture
async def sdk(colocated: Served) -> AsyncIterator[AsyncOpenAI]:
    """The official client, as told what it got: it tries nothing twice."""
    async with AsyncOpenAI(base_url=colocated.url, api_key="none", max_retries=0) as opened:
        yield opened
