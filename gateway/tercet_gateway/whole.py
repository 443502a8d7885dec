"""A reply in one piece: a turn's listener that keeps everything, and the JSON it becomes.

The chat route calls `run_whole`, then sends the body it gets.
"""

from dataclasses import dataclass, field
from typing import assert_never

from tercet_wire.messages import TokenLogprob

from tercet_gateway.clients import ClientGone
from tercet_gateway.completions import Completion, render_completion
from tercet_gateway.conductor import Abandoned, Delta, Failed, Finished, PcmDelta, TextDelta
from tercet_gateway.media.encode import encode_audio
from tercet_gateway.schemas.chat import AudioFormat
from tercet_gateway.turns import TurnRun


@dataclass(slots=True)
class Recording:
    """What a turn said; its sound is as long as the reply, which `max_tokens` bounds."""

    texts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    pcm: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def hear(self, delta: Delta) -> bool:
        match delta:
            case TextDelta():
                self.texts.append(delta.text)
                self.logprobs.extend(delta.logprobs)
            case PcmDelta():
                self.pcm += delta.pcm
            case _:
                assert_never(delta)
        return True


async def run_whole(turn: TurnRun, recording: Recording) -> Finished:
    """GatewayError when the turn fails, ClientGone when nobody waits for it any more."""
    outcome = await turn.run(recording)
    match outcome:
        case Finished():
            return outcome
        case Failed():
            raise outcome.error
        case Abandoned():
            raise ClientGone
        case _:
            assert_never(outcome)


async def render_recording(
    recording: Recording, finished: Finished, completion: Completion, audio_format: AudioFormat | None
) -> bytes:
    audio = None if audio_format is None else await encode_audio(bytes(recording.pcm), audio_format)
    return render_completion(
        completion,
        text=recording.text,
        audio=audio,
        logprobs=tuple(recording.logprobs),
        finish_reason=finished.finish_reason,
        usage=finished.usage,
    )
