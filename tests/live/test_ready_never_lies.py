"""A probe that speaks all the time: whoever reads Ready=True is answered, whatever is being rolled out."""

import asyncio
import os
from dataclasses import dataclass, field

import pytest
from openai import AsyncOpenAI, OpenAIError

from tests.e2e.replies import SPOKEN, ask_about, hear
from tests.live.conftest import Release, build_demo

ROLLOUTS = int(os.environ.get("TERCET_ROLLOUTS", "2"))
PAUSE_S = 0.2
TURN = {**ask_about(), **SPOKEN, "max_tokens": 4}


@dataclass(slots=True)
class Probe:
    release: Release
    answered: int = 0
    lies: list[str] = field(default_factory=list)

    async def run(self, client: AsyncOpenAI) -> None:
        while True:
            said = await asyncio.to_thread(self._is_ready)
            fault = await self._ask(client)
            still = await asyncio.to_thread(self._is_ready)
            self.answered += fault is None
            if fault is not None and said and still:
                self.lies.append(fault)
            await asyncio.sleep(PAUSE_S)

    async def _ask(self, client: AsyncOpenAI) -> str | None:
        try:
            reply = await hear(client, TURN)
        except OpenAIError as error:
            return repr(error)
        return None if reply.pcm else "no sound"

    def _is_ready(self) -> bool:
        path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        return self.release.kubectl.run("get", "omni", "demo", f"--output={path}") == "True"


@pytest.mark.timeout(300 + 180 * ROLLOUTS)
@pytest.mark.parametrize("strategy", ["Surge", "BlueGreen", "InPlace"])
async def test_ready_is_never_true_while_turns_fail(release: Release, strategy: str) -> None:
    """Through TERCET_ROLLOUTS rollouts of a deployment with one server; InPlace interrupts, and says so."""
    omni = build_demo()
    omni["spec"]["rollout"] |= {"strategy": strategy, "drainSeconds": 5}
    await asyncio.to_thread(release.apply, omni)
    await asyncio.to_thread(release.wait_settled, "demo")
    async with AsyncOpenAI(base_url=f"{release.url}/v1", api_key="unused", max_retries=0) as client:
        probe = Probe(release)
        probing = asyncio.create_task(probe.run(client))
        for number in range(ROLLOUTS):
            omni["spec"]["stages"]["thinker"]["kvMemory"] = f"{65 + number}Mi"
            await asyncio.to_thread(release.apply, omni)
            await asyncio.to_thread(release.wait_settled, "demo")
        probing.cancel()
        (end,) = await asyncio.gather(probing, return_exceptions=True)
    assert isinstance(end, asyncio.CancelledError), end
    print(f"{strategy}: {probe.answered} turns answered in {ROLLOUTS} rollouts")
    assert probe.answered
    assert probe.lies == []
    await asyncio.to_thread(release.kubectl.run, "delete", "omni", "demo", "--wait=true")
