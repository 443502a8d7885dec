"""Hundreds of turns in a row: what a deployment weighs after them, and what its gateway weighs at all."""

import itertools
from typing import Any

import psutil
import pytest
from openai import AsyncOpenAI

from tests.e2e.media import INPUTS
from tests.e2e.processes import find_gateway, members
from tests.e2e.replies import SPOKEN, ask_about, hear
from tests.e2e.served import Served

WARM_UP_TURNS = 50
TURNS = 500
GROWTH = 0.02
MIB = 2**20
POOLS_MIB = 8
"""What allocators keep for later; more than two percent of a process of fifty MiB, such as Triton itself."""

KINDS: list[dict[str, Any]] = [
    ask_about(*parts) | spoken for parts in INPUTS.values() for spoken in ({}, SPOKEN, {})
]


def weigh(served: Served) -> dict[str, float]:
    """MiB of resident memory of each process, by what it is."""
    return {_name(each): each.memory_info().rss / MIB for each in members(served.process.pid)}


def _name(process: psutil.Process) -> str:
    scripts = [
        part for part in process.cmdline() if part.endswith(("model.py", "leash.py", "tercet_gateway"))
    ]
    return f"{process.pid} {process.name()} {' '.join(scripts)}"


def test_the_gateway_is_light_and_has_no_torch(colocated: Served) -> None:
    """Under 200 MiB, and none of torch's libraries in its memory."""
    gateway = find_gateway(colocated)
    assert gateway.memory_info().rss / MIB < 200
    assert [each.path for each in gateway.memory_maps() if "torch" in each.path] == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_no_process_grows(colocated: Served, sdk: AsyncOpenAI) -> None:
    """Turns of all kinds, one after the other: by no more than two percent after the first fifty."""
    kinds = itertools.cycle(KINDS)
    for body in itertools.islice(kinds, WARM_UP_TURNS):
        await hear(sdk, body)
    before = weigh(colocated)
    for body in itertools.islice(kinds, TURNS):
        await hear(sdk, body)
    after = weigh(colocated)
    assert after.keys() == before.keys()
    for name, weight in after.items():
        assert weight < before[name] + max(before[name] * GROWTH, POOLS_MIB), (name, before, after)
    print(f"MiB before: {before}\nMiB after: {after}")
