"""What one turn shows a listener, gathered as it goes and written to the metrics.

One TurnMeter a turn: `turns` tells it of stages, the shells of what they handed to the socket.
"""

import time
from itertools import product
from typing import Final, Literal, get_args

from tercet_wire.messages import Usage
from tercet_wire.names import SAMPLE_RATE_HZ, Stage

from tercet_gateway.metrics import Metrics
from tercet_gateway.playback import Player
from tercet_gateway.stage_run import ReplayOutcome

_SMOOTH_MS: Final = (10, 100, 500)
"""Underruns below which a turn counts as continuous."""
_PHASES: Final = ("pre_first_byte", "streaming")


def audio_seconds(pcm_bytes: int) -> float:
    return pcm_bytes / (2 * SAMPLE_RATE_HZ)


def show_zeros(metrics: Metrics, model: str) -> None:
    """To be called when turns of a model can begin.

    Prometheus sees a counter rise only if it was there before, and of these the first rise matters.
    """
    metrics.slow_client_aborts.labels(model)
    for phase in _PHASES:
        metrics.cancelled_requests.labels(model, phase)
    for stage, outcome in product(Stage, get_args(ReplayOutcome)):
        metrics.replays.labels(model, stage.value, outcome)


class TurnMeter:
    """`received_s`: when the request came, in `time.monotonic`'s time."""

    def __init__(self, metrics: Metrics, model: str, received_s: float) -> None:
        self._metrics = metrics
        self._model = model
        self._received_s = received_s
        self._player = Player()
        self._most_buffered_s = 0.0
        self.first_text_s: float | None = None
        self.first_audio_s: float | None = None

    @property
    def audio_s(self) -> float:
        return self._player.audio_s

    def elapsed_s(self) -> float:
        return time.monotonic() - self._received_s

    def start(self, audio_input_s: float) -> None:
        """The request has been read; the thinker is asked next."""
        self._metrics.speech.input.labels(self._model).inc(audio_input_s)
        self._metrics.overhead.labels(self._model).observe(self.elapsed_s())

    def observe_stage(self, stage: Stage, phase: str, seconds: float) -> None:
        self._metrics.stage_latency.labels(self._model, stage.value, phase).observe(seconds)

    def observe_replay(self, stage: Stage, outcome: str) -> None:
        self._metrics.replays.labels(self._model, stage.value, outcome).inc()

    def observe_buffer(self, audio_s: float) -> None:
        self._most_buffered_s = max(self._most_buffered_s, audio_s)

    def hand_over(self, *, text: bool, audio_s: float) -> None:
        """Text or sound went to the socket just now."""
        if text and self.first_text_s is None:
            self.first_text_s = self.elapsed_s()
            self._metrics.time_to_first_text.labels(self._model).observe(self.first_text_s)
        if audio_s:
            self._hand_sound_over(audio_s)

    def finish(self, usage: Usage, *, streamed: bool) -> None:
        """A reply that came in one piece says nothing about gaps."""
        tokens = self._metrics.tokens
        tokens.labels(self._model, "prompt").inc(usage.prompt_tokens)
        tokens.labels(self._model, "completion").inc(usage.completion_tokens)
        tokens.labels(self._model, "code").inc(usage.codes)
        if self.audio_s:
            factor = self._player.last_at_s / self.audio_s
            self._metrics.speech.real_time_factor_whole.labels(self._model).observe(factor)
        if self.audio_s and streamed:
            self._finish_stream()

    def abandon(self, why: Literal["gone", "slow"], seconds: float) -> None:
        """The client left; it took `seconds` to end the calls to the stages."""
        before, streaming = _PHASES
        phase = before if self.first_text_s is None and self.first_audio_s is None else streaming
        self._metrics.cancelled_requests.labels(self._model, phase).inc()
        self._metrics.cancel_propagation.labels(self._model).observe(seconds)
        if why == "slow":
            self._metrics.slow_client_aborts.labels(self._model).inc()

    def _hand_sound_over(self, audio_s: float) -> None:
        at_s = self.elapsed_s()
        if self.first_audio_s is None:
            self.first_audio_s = at_s
            self._metrics.speech.time_to_first_audio.labels(self._model).observe(at_s)
        self._player.hear(at_s, audio_s)
        self._metrics.speech.output.labels(self._model).inc(audio_s)

    def _finish_stream(self) -> None:
        speech, player, model = self._metrics.speech, self._player, self._model
        speech.underrun.labels(model).observe(player.underrun_s)
        speech.gaps.labels(model).inc(player.gaps)
        speech.buffered.labels(model).observe(self._most_buffered_s)
        for threshold_ms in _SMOOTH_MS:
            if player.underrun_s * 1000 < threshold_ms:
                speech.continuity_ok.labels(model, threshold_ms).inc()
        factor = player.real_time_factor()
        if factor is not None:
            speech.real_time_factor.labels(model).observe(factor)
