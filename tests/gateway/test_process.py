"""The gateway as a process of its own."""

import asyncio
import json
import re
import signal
import sys
from pathlib import Path

import httpx
import psutil
from tercet_wire.names import Stage

from tests.gateway import media_samples
from tests.gateway.fake_triton import FakeTriton

RSS_MIB = 200


async def start(settings: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tercet_gateway", "--settings", str(settings), stderr=asyncio.subprocess.PIPE
    )


async def read_until(process: asyncio.subprocess.Process, pattern: str) -> re.Match[str]:
    assert process.stderr is not None
    async with asyncio.timeout(60):
        async for line in process.stderr:
            if found := re.search(pattern, line.decode()):
                return found
    raise AssertionError(f"{pattern} is never said")


async def refuse_pictures(http: httpx.AsyncClient) -> None:
    """Forty of 4 MB each, four at once."""
    picture = media_samples.data_url(bytes(4_000_000))
    part = {"type": "image_url", "image_url": {"url": picture}}
    body = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    for _ in range(10):
        answers = await asyncio.gather(*(http.post("/v1/chat/completions", json=body) for _ in range(4)))
        assert {answer.status_code for answer in answers} == {400}


async def test_process_serves_small_and_stops_in_peace(triton: FakeTriton, tmp_path: Path) -> None:
    """It answers, needs little memory even after megabytes of broken pictures, and SIGTERM ends it."""
    endpoints = {stage.value: [triton.endpoint] for stage in Stage}
    file = tmp_path / "gateway.json"
    file.write_text(
        json.dumps({"port": 0, "metrics_port": 0, "deployments": [{"model": "m", "endpoints": endpoints}]})
    )
    process = await start(file)
    address = await read_until(process, r"running on (http://[\d.:]+)")
    async with httpx.AsyncClient(base_url=address[1], trust_env=False, timeout=60) as http:
        assert (await http.get("/readyz")).status_code == 200
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
        await refuse_pictures(http)
    assert psutil.Process(process.pid).memory_info().rss < RSS_MIB * 2**20
    process.send_signal(signal.SIGTERM)
    await read_until(process, "Application shutdown complete")
    async with asyncio.timeout(30):
        await process.communicate()


async def test_process_says_what_is_wrong_with_its_settings(tmp_path: Path) -> None:
    """It stops at once and names every fault."""
    file = tmp_path / "gateway.json"
    file.write_text('{"port": -1, "colour": "red"}')
    process = await start(file)
    async with asyncio.timeout(60):
        _, said = await process.communicate()
    assert process.returncode == 1
    assert all(name in said.decode() for name in ("port", "colour", "deployments"))
