"""One turn's way through code2wav: its codes, the mel that is still needed, and what its listener has.

`stage` holds one SpeechTurn per open turn and drives it from its thread: ask `next_window`, decode its
`segment`, render its `stretch`, then `commit`. Nothing changes before `commit`, so a step that failed can be
tried again. Knows neither the networks nor the other turns.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from tercet_wire.names import SAMPLE_RATE_HZ
from tercet_wire.settings import WindowSettings

from tercet_engine.code2wav.deadlines import deadline
from tercet_engine.code2wav.dit import Decoded, Segment, Voice
from tercet_engine.code2wav.noise import NoiseSource
from tercet_engine.code2wav.vocoder import Rendered, Stretch, fade_over, to_pcm
from tercet_engine.code2wav.windows import (
    FRAMES_PER_CODE,
    Progress,
    Window,
    advance,
    decide_window,
)
from tercet_engine.stage import Code2WavOutput, Sink


class SpeechTurn:
    """Times are the stage's clock's."""

    def __init__(
        self,
        *,
        session: str,
        sink: Sink[Code2WavOutput],
        voice: Voice,
        window: WindowSettings,
        noise: NoiseSource,
        arrived_at: float,
        due_s: float,
    ) -> None:
        self.session = session
        self.sink = sink
        self.window_settings = window
        self.arrived_at = arrived_at
        self.codes: list[int] = []
        self._voice = voice
        self._noise = noise
        self._due_s = due_s
        self._progress = Progress()
        self._past: torch.Tensor | None = None
        self._mel = torch.empty(0)  # frames that are still needed, from number _mel_start on
        self._mel_start = 0
        self._tail = torch.empty(0)
        self._begin_at: float | None = None
        self._first_sent_at: float | None = None
        self._sent_s = 0.0

    def receive(self, codes: tuple[int, ...], last: bool, now: float) -> None:
        """Codes after the last ones are ignored."""
        if self._progress.complete:
            return
        could_begin = bool(codes) and self.window_settings.mode == "stream"
        if self._begin_at is None and (could_begin or last):
            self._begin_at = now
        self.codes.extend(codes)
        self._progress = replace(self._progress, codes=len(self.codes), complete=last)

    def take_place(self, now: float) -> None:
        """From here on the turn is played.

        What it waited cannot be made good: if it were late already, it would pass by listeners who are not.
        """
        if self._begin_at is not None:
            self._begin_at = max(self._begin_at, now)

    @property
    def due_at(self) -> float:
        """The first sound is owed from the moment it could be begun, which takes a place."""
        return deadline(
            begin_at=self.arrived_at if self._begin_at is None else self._begin_at,
            due_s=self._due_s,
            first_sent_at=self._first_sent_at,
            sent_s=self._sent_s,
        )

    def next_window(self) -> Window | None:
        return decide_window(self.window_settings, self._progress)

    def segment(self, window: Window) -> Segment | None:
        """What the DiT decodes; None when the window has only sound left."""
        if window.start_code == window.end_code:
            return None
        return Segment(
            codes=self.codes[window.start_code : window.end_code],
            noise=self._noise.frames(window.start_code * FRAMES_PER_CODE, window.end_code * FRAMES_PER_CODE),
            voice=self._voice,
            past=self._past,
            final_blocks=window.final_blocks,
        )

    def stretch(self, window: Window, decoded: Decoded | None) -> Stretch | None:
        """What the vocoder renders; None when the window has no sound."""
        if window.send_from == window.send_until:
            return None
        mel, start = self._join(window, decoded)
        first, stop = window.send_from - window.left, window.send_until + window.right
        return Stretch(mel=mel[first - start : stop - start], left=window.left, right=window.right)

    def commit(self, window: Window, decoded: Decoded | None, rendered: Rendered | None) -> NDArray[np.int16]:
        """Go on to after `window`; returns its sound."""
        mel, start = self._join(window, decoded)
        self._progress = advance(self._progress, window)
        if decoded is not None:
            self._past = decoded.past
        self._mel_start = max(start, window.send_until - self.window_settings.overlap_frames)
        self._mel = mel[self._mel_start - start :].clone()  # so that the frames before it are freed
        self._noise.drop_before(self._progress.final_blocks)
        if rendered is None:
            return np.empty(0, np.int16)
        pcm = to_pcm(fade_over(self._tail, rendered.wave))
        self._tail = rendered.tail
        return pcm

    def note_sent(self, samples: int, now: float) -> None:
        """`samples` have gone to the listener, who plays from the first ones on."""
        if samples:
            self._first_sent_at = now if self._first_sent_at is None else self._first_sent_at
            self._sent_s += samples / SAMPLE_RATE_HZ

    def _join(self, window: Window, decoded: Decoded | None) -> tuple[torch.Tensor, int]:
        """The mel known after decoding, the new in place of the old, and the number of its first frame."""
        if decoded is None:
            return self._mel, self._mel_start
        start = window.start_code * FRAMES_PER_CODE
        if start <= self._mel_start:
            return decoded.mel, start
        old = self._mel[: start - self._mel_start].to(decoded.mel.device)
        return torch.cat([old, decoded.mel]), self._mel_start
