"""What compose.yaml starts on a CPU, without containers: it fetches, serves and speaks."""

from pathlib import Path

import pytest
from openai import AsyncOpenAI

from tests.e2e.composed import compose_up
from tests.e2e.replies import ENDLESS, SPOKEN, ask_about, hear


@pytest.mark.timeout(2400)
async def test_the_services_speak_a_turn(tmp_path: Path) -> None:
    """Each by its own command and settings, once the health check of the one before it says so."""
    with compose_up(tmp_path, "cpu") as machine:
        async with AsyncOpenAI(base_url=machine.gateway_url, api_key="none", max_retries=0) as sdk:
            reply = await hear(sdk, {**ask_about(text="Hello"), **ENDLESS, **SPOKEN, "max_tokens": 12})
    assert reply.text
    assert reply.pcm
