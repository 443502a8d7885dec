"""Listeners who never stop, while everything is done to a deployment that is done to deployments."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.live import happenings
from tests.live.conftest import Release
from tests.live.happenings import NAME, Happening
from tests.live.timeline import Record, draw, recording
from tests.live.traffic import Traffic, listen

LISTENERS = 2
ARTEFACTS = Path(os.environ.get("TERCET_ARTEFACTS", "build/e2e"))
HAPPENINGS: dict[str, Happening] = {
    "settings change": happenings.change_settings,
    "revert": happenings.revert,
    "revert midway": happenings.revert_midway,
    "image change": happenings.change_image,
    "three edits": happenings.edit_three_times,
    "pod deleted": happenings.delete_pod,
    "Triton killed": happenings.kill_triton,
    "node drained": happenings.drain_node,
    "operator killed": happenings.kill_operator,
    "API server away": happenings.stop_api_server,
    "gateways restarted": happenings.restart_gateways,
}


def keep(record: Record, traffic: Traffic) -> None:
    title = f"{len(traffic.turns)} spoken turns of {LISTENERS} listeners, {len(traffic.faults())} broken"
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    (ARTEFACTS / "no-broken-speech.svg").write_text(draw(record, traffic, title))
    (ARTEFACTS / "no-broken-speech.json").write_text(json.dumps([asdict(turn) for turn in traffic.turns]))
    print(title)


@pytest.mark.timeout(2400)
async def test_no_speech_breaks(release: Release) -> None:
    """Every sample of every reply is the one expected, whatever happens meanwhile."""
    await happenings.roll(release)
    async with listen(release.url, listeners=LISTENERS) as traffic, recording(release, traffic) as record:
        try:
            for name, happen in HAPPENINGS.items():
                began_s = traffic.now_s
                await happen(release)
                record.done.append((name, began_s, traffic.now_s))
        finally:
            keep(record, traffic)
    keep(record, traffic)
    broken = [
        (name, turn.began_s, turn.fault)
        for turn in traffic.faults()
        for name, from_s, until_s in record.done
        if from_s <= turn.ended_s and turn.began_s <= until_s
    ]
    for name, from_s, until_s in record.done:
        assert traffic.count_between(from_s, until_s), f"nobody spoke during {name}"
    assert traffic.faults() == [], broken
    release.kubectl.run("delete", "omni", NAME)
