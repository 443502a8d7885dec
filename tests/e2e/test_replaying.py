"""Two replicas of each stage: one is killed in the middle of a turn, and its listener notices nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from openai import AsyncOpenAI
from tercet_wire.names import Stage

from tests.e2e.idle import read_metric, wait_until
from tests.e2e.processes import find_carrier, find_serving
from tests.e2e.replies import ENDLESS, SPOKEN, Reply, ask_about, hear
from tests.e2e.served import Served, serve, write_variant

SPEECH = {**ask_about(), **ENDLESS, **SPOKEN, "max_tokens": 3000}
"""So long that every stage is still at work when it is killed, however slow the machine."""
HEAL_S = 600
REPLAYS = "tercet_gateway_replays_total"


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("replicated")
    stages = {stage.value: {"replicas": 2, "kvMemory": "64Mi"} for stage in Stage}
    del stages["code2wav"]["kvMemory"]
    file = write_variant(folder / "omni.yaml", layout="Disaggregated", stages=stages)
    with serve(file, folder / "run") as served:
        yield served


@pytest.fixture(scope="module")
def undisturbed(replicated: Served) -> Reply:
    async def hear_it() -> Reply:
        async with AsyncOpenAI(base_url=replicated.url, api_key="none", max_retries=0) as opened:
            return await hear(opened, SPEECH)

    return asyncio.run(hear_it())


@pytest.fixture
async def client(replicated: Served) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=replicated.url, api_key="none", max_retries=0) as opened:
        yield opened


@pytest.mark.parametrize("stages", [*((stage,) for stage in Stage), tuple(Stage)])
async def test_kill_in_the_middle_of_a_turn_is_not_heard(
    replicated: Served, client: AsyncOpenAI, undisturbed: Reply, stages: tuple[Stage, ...]
) -> None:
    """Every word and every sample is that of the undisturbed reply, to one step of the 16-bit PCM."""
    await wait_until(lambda: all(len(find_serving(replicated, stage)) == 2 for stage in Stage), HEAL_S)
    before = read_metric(replicated, REPLAYS)
    killed: list[int] = []

    def kill_once_it_sounds(reply: Reply) -> bool:
        if reply.pieces and not killed:
            for stage in stages:  # at once: the thinker has written all long before it is spoken
                carrier = find_carrier(replicated, stage)
                carrier.kill()
                killed.append(carrier.pid)
        return False

    reply = await hear(client, SPEECH, until=kill_once_it_sounds)
    assert read_metric(replicated, REPLAYS) == before + len(killed) == before + len(stages)
    assert reply.text == undisturbed.text
    assert (reply.counts(), reply.finish_reason) == (undisturbed.counts(), undisturbed.finish_reason)
    sound, expected = (np.frombuffer(each.pcm, "<i2").astype(int) for each in (reply, undisturbed))
    assert len(sound) == len(expected)
    assert np.abs(sound - expected).max() <= 1
