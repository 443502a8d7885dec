"""Listeners who never stop, while everything is done to a deployment that is done to deployments.

A Prometheus watches, and at the end every panel of every dashboard must have something to show.
"""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.live import happenings, panels
from tests.live.conftest import Release
from tests.live.happenings import NAME, Happening
from tests.live.prometheus import INTERVAL_S, Prometheus, run_prometheus
from tests.live.timeline import Record, draw, recording
from tests.live.traffic import Traffic, listen

LISTENERS = 2
ARTEFACTS = Path(os.environ.get("TERCET_ARTEFACTS", "build/e2e"))
ALL: dict[str, Happening] = {
    "settings change": happenings.change_settings,
    "revert": happenings.revert,
    "revert midway": happenings.revert_midway,
    "image change": happenings.change_image,
    "three edits": happenings.edit_three_times,
    "refused edit": happenings.edit_wrongly,
    "callers hang up": happenings.hang_up,
    "listener asleep": happenings.fall_asleep,
    "pod deleted": happenings.delete_pod,
    "Triton killed": happenings.kill_triton,
    "node drained": happenings.drain_node,
    "operator killed": happenings.kill_operator,
    "API server away": happenings.stop_api_server,
    "change after it": happenings.change_settings,
    "gateways restarted": happenings.restart_gateways,
}
CHOSEN = [name for name in os.environ.get("TERCET_HAPPENINGS", ",".join(ALL)).split(",") if name]
NEEDS_A_GPU = {"GPU at work", "GPU memory"}
RISES_WITH = {"Clients that left": "callers hang up", "Clients cut off as too slow": "listener asleep"}
"""What must be seen of who left, though for a gateway it may be the first thing that happens."""


def keep(record: Record, traffic: Traffic) -> None:
    title = f"{len(traffic.turns)} spoken turns of {LISTENERS} listeners, {len(traffic.faults())} broken"
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    (ARTEFACTS / "no-broken-speech.svg").write_text(draw(record, traffic, title))
    (ARTEFACTS / "no-broken-speech.json").write_text(json.dumps([asdict(turn) for turn in traffic.turns]))
    print(title)


@pytest.mark.timeout(2400)
async def test_no_speech_breaks(release: Release, tmp_path: Path) -> None:
    """Every sample of every reply is the one expected, whatever happens meanwhile; and all of it is seen."""
    await happenings.roll(release)
    async with run_prometheus(release, tmp_path) as prometheus:
        record, traffic = await do_everything(release)
        keep(record, traffic)
        shown = await show(prometheus)
    judge(record, traffic)
    assert {title for title, panel in shown.items() if panel.unanswered} == NEEDS_A_GPU
    for title, happening in RISES_WITH.items():
        assert happening not in CHOSEN or shown[title].highest > 0, f"{title}: nothing was seen of it"
    release.kubectl.run("delete", "omni", NAME)


async def do_everything(release: Release) -> tuple[Record, Traffic]:
    async with listen(release.url, listeners=LISTENERS) as traffic, recording(release, traffic) as record:
        try:
            for name in CHOSEN:
                began_s = traffic.now_s
                try:
                    await ALL[name](release)
                finally:
                    record.done.append((name, began_s, traffic.now_s))
                    broken = len(traffic.faults())
                    print(f"{name}: {began_s:.0f} to {traffic.now_s:.0f} s, {broken} broken so far")
        finally:
            keep(record, traffic)
    return record, traffic


async def show(prometheus: Prometheus) -> dict[str, panels.Panel]:
    """Draw all dashboards; returns their panels by title."""
    until = time.time() - INTERVAL_S
    shown: dict[str, panels.Panel] = {}
    for dashboard in panels.read_dashboards():
        answered = await panels.ask_panels(dashboard, prometheus, until)
        name = dashboard["title"].lower().replace(" / ", "-")
        (ARTEFACTS / f"{name}.svg").write_text(
            panels.draw(dashboard["title"], answered, prometheus.began, until)
        )
        shown |= {panel.title: panel for panel in answered}
    return shown


def judge(record: Record, traffic: Traffic) -> None:
    broken = [
        (name, turn.began_s, turn.fault)
        for turn in traffic.faults()
        for name, from_s, until_s in record.done
        if from_s <= turn.ended_s and turn.began_s <= until_s
    ]
    for name, from_s, until_s in record.done:
        assert traffic.count_between(from_s, until_s), f"nobody spoke during {name}"
    assert traffic.faults() == [], broken
