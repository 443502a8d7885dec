"""Which window comes next, as tables: no torch, no clock."""

from dataclasses import dataclass, replace
from itertools import islice

import pytest
from tercet_engine.code2wav.windows import (
    BLOCK_CODES,
    FRAMES_PER_CODE,
    Progress,
    Window,
    advance,
    decide_window,
    message_boundaries,
)
from tercet_wire.settings import WindowSettings

PLAIN = WindowSettings()
QWEN = WindowSettings(first_codes=36, blocks=2, look_ahead_blocks=1)


def speak(settings: WindowSettings, codes: int) -> list[tuple[int, Window]]:
    """All windows of a reply whose codes come one by one, with the count at which each fired."""
    windows: list[tuple[int, Window]] = []
    progress = Progress()
    for count in range(1, codes + 2):
        progress = replace(progress, codes=min(count, codes), complete=count > codes)
        while not (windows and windows[-1][1].last):
            window = decide_window(settings, progress)
            if window is None:
                break
            windows.append((min(count, codes), window))
            progress = advance(progress, window)
    return windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    settings: WindowSettings
    fired_at: list[int]
    sent_until: list[int]


CASES = {
    "the first window is a part of a block, the second its rest": Case(
        settings=PLAIN,
        fired_at=[8, 12, 24, 36, 48, 60, 60],
        sent_until=[8, 16, 40, 64, 88, 112, 120],
    ),
    "a whole block first": Case(
        settings=WindowSettings(first_codes=12),
        fired_at=[12, 24, 36, 48, 60, 60],
        sent_until=[16, 40, 64, 88, 112, 120],
    ),
    "two blocks a window after the first block": Case(
        settings=WindowSettings(blocks=2), fired_at=[8, 12, 36, 60, 60], sent_until=[8, 16, 64, 112, 120]
    ),
    "one and a half blocks first": Case(
        settings=WindowSettings(first_codes=18, blocks=2),
        fired_at=[18, 24, 48, 60],
        sent_until=[28, 40, 88, 120],
    ),
    "the published setting waits for look-ahead and hears no frame without it": Case(
        settings=QWEN, fired_at=[36, 60, 60], sent_until=[48, 96, 120]
    ),
    "look-ahead frames serve as the vocoder's context": Case(
        settings=WindowSettings(first_codes=12, look_ahead_blocks=1),
        fired_at=[12, 24, 36, 48, 60, 60],
        sent_until=[16, 24, 48, 72, 96, 120],
    ),
    "without context every frame is sent": Case(
        settings=WindowSettings(first_codes=6, overlap_frames=0, first_overlap_frames=0),
        fired_at=[6, 12, 24, 36, 48, 60, 60],
        sent_until=[12, 24, 48, 72, 96, 120, 120],
    ),
    "whole waits for all": Case(settings=WindowSettings(mode="whole"), fired_at=[60], sent_until=[120]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_windows_fire_at_their_codes(case: Case) -> None:
    """A reply of five blocks fires its windows when the settings say, and sends what has context."""
    windows = speak(case.settings, 60)
    assert [codes for codes, _ in windows] == case.fired_at
    assert [window.send_until for _, window in windows] == case.sent_until


SETTINGS = [
    PLAIN,
    QWEN,
    WindowSettings(mode="whole"),
    WindowSettings(first_codes=1, overlap_frames=64, first_overlap_frames=64),
    WindowSettings(first_codes=11, overlap_frames=3, first_overlap_frames=0),
    WindowSettings(first_codes=30, blocks=3, max_blocks=2, look_ahead_blocks=2),
    WindowSettings(first_codes=12, look_ahead_blocks=4, overlap_frames=0),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
@pytest.mark.parametrize("codes", [1, 7, 8, 12, 13, 24, 59, 60, 61, 200])
def test_every_frame_is_sent_once_and_every_block_made_final_once(
    settings: WindowSettings, codes: int
) -> None:
    """Whatever the settings: frames leave in order, final blocks follow each other, only the end is last."""
    windows = [window for _, window in speak(settings, codes)]
    sent = final = decoded = 0
    for window in windows:
        assert window.send_from == sent <= window.send_until
        if window.start_code < window.end_code:
            assert window.start_code == final * BLOCK_CODES
        decoded = max(decoded, window.end_code)
        assert window.send_until + window.right <= decoded * FRAMES_PER_CODE
        assert window.left <= settings.overlap_frames
        sent, final = window.send_until, final + window.final_blocks
        assert final * BLOCK_CODES <= window.end_code
    assert sent == codes * FRAMES_PER_CODE
    assert [window.last for window in windows] == [False] * (len(windows) - 1) + [True]


@pytest.mark.parametrize(
    ("sent_s", "blocks"), [(0.0, 1), (1.9, 1), (1.92, 2), (2.88, 3), (3.84, 4), (100.0, 4)]
)
def test_windows_grow_with_the_sound_sent(sent_s: float, blocks: int) -> None:
    """A window is at most a quarter of what the listener was sent, and never over max_blocks."""
    progress = Progress(codes=1200, final_blocks=2, decoded_codes=24, sent_frames=round(sent_s * 100))
    window = decide_window(PLAIN, progress)
    assert window is not None
    assert window.blocks == blocks


@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
@pytest.mark.parametrize("codes", [1, 8, 12, 24, 36, 59, 60, 240, 600])
def test_a_reply_is_cut_the_same_whenever_its_codes_come(settings: WindowSettings, codes: int) -> None:
    """One by one or all at once: the samples must not depend on how busy a server is."""
    at_once: list[Window] = []
    progress = Progress(codes=codes, complete=True)
    while not (at_once and at_once[-1].last):
        window = decide_window(settings, progress)
        assert window is not None
        at_once.append(window)
        progress = advance(progress, window)
    assert at_once == [window for _, window in speak(settings, codes)]


def test_a_long_reply_that_is_complete_at_once_is_cut_into_windows() -> None:
    """The first sound must not wait for all the codes because they are there."""
    window = decide_window(PLAIN, Progress(codes=600, complete=True))
    assert window is not None
    assert (window.end_code, window.last) == (8, False)


@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
def test_a_reply_without_codes_has_one_empty_last_window(settings: WindowSettings) -> None:
    """Zero codes still need an end."""
    assert decide_window(settings, Progress()) is None
    window = decide_window(settings, Progress(complete=True))
    assert window is not None
    assert window.last
    assert (window.blocks, window.send_from, window.send_until) == (0, 0, 0)


def test_codes_that_were_decoded_are_not_decoded_again_for_the_end() -> None:
    """When the end comes without new codes, only the sound that waited for context is left."""
    *_, (_, window) = speak(PLAIN, 24)
    assert (window.blocks, window.send_from, window.send_until) == (0, 40, 48)


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        (PLAIN, [8, 12, 24, 36]),
        (WindowSettings(blocks=2), [8, 12, 36, 60]),
        (WindowSettings(first_codes=12), [12, 24, 36, 48]),
        (QWEN, [36, 60, 84, 108]),
    ],
)
def test_the_talkers_messages_meet_the_windows(settings: WindowSettings, counts: list[int]) -> None:
    """The talker sends when a window can fire: the first codes, the end of that block, each window."""
    assert list(islice(message_boundaries(settings), 4)) == counts
    fired = {codes for codes, _ in speak(settings, 600)} - {600}
    assert fired <= set(islice(message_boundaries(settings), 60))
