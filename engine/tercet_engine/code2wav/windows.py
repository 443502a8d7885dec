"""Which codes to decode next, and which frames of them to send: the rules of streaming as pure functions.

The code2wav stage asks `decide_window` before each step; the talker asks `message_boundaries` when to send,
so that a message is there exactly when a window can fire. Knows neither torch nor clocks: where a reply is
cut depends on its codes alone, not on when they came, so that a seeded turn has the same samples on an idle
server, on a busy one and when it is replayed on another.

Units: a code is 2 mel frames of 10 ms; a block is 12 codes. A block is *final* once it has been decoded
whole, with its look-ahead; frames of a block that is not are provisional: good enough to be heard or to
serve as the vocoder's context, and decoded again later.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tercet_wire.names import CODES_PER_S
from tercet_wire.settings import WindowSettings

BLOCK_CODES: Final = 12
FRAMES_PER_CODE: Final = 2
BLOCK_FRAMES: Final = BLOCK_CODES * FRAMES_PER_CODE
FRAMES_PER_S: Final = CODES_PER_S * FRAMES_PER_CODE
SENT_PER_WINDOW: Final = 4
"""A window is at most a quarter of the sound sent before it: a server that needs r seconds for a second has
by then gained (1 - r) of that sound for its listener, who can wait r / 4 as long as r is at most 0.8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a turn has come. `decoded_codes` counts provisional codes too."""

    codes: int = 0
    complete: bool = False
    final_blocks: int = 0
    decoded_codes: int = 0
    sent_frames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one step does for a turn: decode codes, then send frames.

    Codes [start_code, end_code) are decoded (none if equal) and the first `final_blocks` of them are final;
    the rest is look-ahead or a part of a block. Frames [send_from, send_until), counted from the start of
    the turn, are sent, with up to `left` and `right` frames around them as the vocoder's context.
    """

    start_code: int
    end_code: int
    final_blocks: int
    send_from: int
    send_until: int
    left: int
    right: int
    last: bool

    @property
    def blocks(self) -> int:
        """Blocks to compute: what the window costs."""
        return -(-(self.end_code - self.start_code) // BLOCK_CODES)


def decide_window(settings: WindowSettings, progress: Progress) -> Window | None:
    """The next window of a turn, or None: wait for more codes."""
    end = _next_end(settings, progress)
    if end is not None and end <= progress.codes:
        return _build_window(settings, progress, end, last=False)
    return _build_window(settings, progress, progress.codes, last=True) if progress.complete else None


def advance(progress: Progress, window: Window) -> Progress:
    """The progress after `window` was decoded and sent."""
    return Progress(
        codes=progress.codes,
        complete=progress.complete,
        final_blocks=progress.final_blocks + window.final_blocks,
        decoded_codes=max(progress.decoded_codes, window.end_code),
        sent_frames=window.send_until,
    )


def message_boundaries(settings: WindowSettings) -> Iterator[int]:
    """Without end: the counts of codes at which the talker sends what it has."""
    yield settings.first_codes
    boundary = _round_up(settings.first_codes)
    if boundary == settings.first_codes:
        boundary += settings.blocks * BLOCK_CODES
    while True:
        yield boundary
        boundary += settings.blocks * BLOCK_CODES


def _next_end(settings: WindowSettings, progress: Progress) -> int | None:
    """The count of codes at which the next window fires; None: at the reply's end only."""
    if settings.mode == "whole":
        return None
    if progress.decoded_codes == 0:
        return settings.first_codes
    blocks = progress.final_blocks + _wanted_blocks(settings, progress) + settings.look_ahead_blocks
    return blocks * BLOCK_CODES


def _wanted_blocks(settings: WindowSettings, progress: Progress) -> int:
    """The rest of a block that was sent in part, then more as the listener's buffer grows.

    Multiples of `blocks`, so that windows end where the talker's messages do.
    """
    if progress.decoded_codes % BLOCK_CODES:
        return 1
    affordable = min(progress.sent_frames // (SENT_PER_WINDOW * BLOCK_FRAMES), settings.max_blocks)
    return max(1, affordable // settings.blocks) * settings.blocks


def _build_window(settings: WindowSettings, progress: Progress, end: int, *, last: bool) -> Window:
    start = progress.final_blocks * BLOCK_CODES
    if last and end == progress.decoded_codes:
        start = end  # decoded already, with the same codes: only the sound that waited for context is left
    final = 0 if last else max(0, end // BLOCK_CODES - settings.look_ahead_blocks - progress.final_blocks)
    frames = end * FRAMES_PER_CODE
    usable = frames
    if settings.look_ahead_blocks and final and not last:
        usable = (progress.final_blocks + final) * BLOCK_FRAMES
    right = settings.overlap_frames if progress.decoded_codes else settings.first_overlap_frames
    until = frames if last else max(progress.sent_frames, min(usable, frames - right))
    return Window(
        start_code=start,
        end_code=end,
        final_blocks=final,
        send_from=progress.sent_frames,
        send_until=until,
        left=min(settings.overlap_frames, progress.sent_frames),
        right=min(right, frames - until),
        last=last,
    )


def _round_up(codes: int) -> int:
    return -(-codes // BLOCK_CODES) * BLOCK_CODES
