"""A conversation as the gateway sends it: a Turn, all pixels and all samples."""

from dataclasses import dataclass
from random import Random

import numpy as np
from tercet_wire.messages import AudioPart, ChatMessage, ImagePart, Part, TextPart, Turn, VideoPart

from demo.conversations import scenes
from demo.media.pictures import Pixels, draw_picture
from demo.media.sounds import RATE_HZ, Samples, SpokenPool, sound_out, surround
from demo.media.videos import FPS, draw_video


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    turn: Turn
    pixels: Pixels  # flat
    samples: Samples  # flat


def render(conversation: scenes.Conversation, pool: SpokenPool) -> Rendered:
    studio = _Studio(pool)
    messages = tuple(
        ChatMessage(role=message.role, content=tuple(studio.show(part) for part in message.parts))
        for message in conversation.messages
    )
    return Rendered(
        turn=Turn(messages=messages),
        pixels=np.concatenate([np.empty(0, np.uint8), *studio.pixels]),
        samples=np.concatenate([np.empty(0, np.float32), *studio.samples]),
    )


class _Studio:
    def __init__(self, pool: SpokenPool) -> None:
        self._pool = pool
        self.pixels: list[Pixels] = []
        self.samples: list[Samples] = []

    def show(self, part: scenes.Part) -> Part:
        match part:
            case str():
                return TextPart(text=part)
            case scenes.Picture():
                drawn = draw_picture(part)
                self.pixels.append(drawn.ravel())
                return ImagePart(height=drawn.shape[0], width=drawn.shape[1])
            case scenes.Sound():
                self.samples.append(sound_out(part, self._pool))
                return AudioPart(samples=len(self.samples[-1]))
            case scenes.Video():
                return self._film(part)

    def _film(self, video: scenes.Video) -> VideoPart:
        drawn = draw_video(video)
        self.pixels.append(drawn.ravel())
        frames, height, width, _ = drawn.shape
        samples = 0
        if video.question:
            self.samples.append(self._dub(video, frames / FPS))
            samples = len(self.samples[-1])
        return VideoPart(frames=frames, height=height, width=width, fps=FPS, samples=samples)

    def _dub(self, video: scenes.Video, seconds: float) -> Samples:
        """The question somewhere in a sound track as long as the video, or as long as it takes."""
        random = Random(video.seed + 1)
        spoken = surround(random, self._pool.choose(random, video.question))
        track = np.zeros(max(len(spoken), int(seconds * RATE_HZ)), np.float32)
        start = random.randint(0, len(track) - len(spoken))
        track[start : start + len(spoken)] = spoken
        return track
