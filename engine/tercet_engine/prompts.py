"""A conversation becomes the thinker's prompt: token ids, positions, and media ready for the encoders.

Called by the thinker stage on a worker thread, several at once; nothing is loaded or changed per request.
Each video is laid out by itself, so silent ones and ones with sound may stand in one conversation, which the
reference's single flag cannot say. Knows no network and no device.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from tercet_wire.messages import AudioPart, ImagePart, Part, StageFailure, TextPart, Turn, VideoPart
from torch import Tensor
from transformers import Qwen2_5OmniProcessor

from tercet_engine.checkpoint import Checkpoint
from tercet_engine.decoder.blocks import Key
from tercet_engine.media import MediaProcessor, Patches, Pixels, Samples, Spectrogram, invalid
from tercet_engine.positions import PromptLayout
from tercet_engine.stage import StageError

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A prompt before the encoders. Media are in the order of their tokens.

    `keys` tell its whole blocks from others', see `prefix`; none where blocks are not shared.
    """

    ids: Tensor  # (n,) int64
    positions: Tensor  # (3, n) int32
    next_position: int
    sounds: tuple[Spectrogram, ...]
    images: tuple[Patches, ...]
    videos: tuple[Patches, ...]
    keys: tuple[Key, ...] = ()

    @property
    def has_media(self) -> bool:
        return bool(self.sounds or self.images or self.videos)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Video:
    patches: Patches
    sound: Spectrogram | None


_Media = Spectrogram | Patches | _Video


class Prompter:
    """Holds the checkpoint's tokenizer, chat template and media processors."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        config = checkpoint.config.thinker_config
        self._processor = Qwen2_5OmniProcessor.from_pretrained(checkpoint.folder, local_files_only=True)
        self.tokenizer = self._processor.tokenizer
        # Its own `encode` sets padding on a shared object first and so is not thread-safe; the inner one is.
        self._encoder = self.tokenizer.backend_tokenizer
        self._media = MediaProcessor(self._processor, config.position_id_per_seconds)
        added = self.tokenizer.get_added_vocab()
        self._control_token = re.compile("|".join(map(re.escape, added)))
        self._longest_token = max(len(token) for token in self.tokenizer.get_vocab() if token not in added)
        self._weave_span = int(config.position_id_per_seconds * config.seconds_per_chunk)
        self._most_tokens: int = config.text_config.max_position_embeddings
        self._config = config

    def prepare(self, turn: Turn, pixels: Pixels, samples: Samples) -> Prepared:
        """Raises StageError if the request is at fault, before or after its media were read."""
        self._refuse_beyond_measure(turn)
        self._refuse_control_tokens(turn)
        media = list(self._read_media(turn, _Reader(pixels, "PIXELS"), _Reader(samples, "SAMPLES")))
        layout = self._lay_out(self._encoder.encode(self._render(turn)).ids, media)
        ids = layout.ids()
        self._refuse_too_long(len(ids))
        sounds = [item.sound if isinstance(item, _Video) else item for item in media]
        return Prepared(
            ids=torch.from_numpy(ids),
            positions=torch.from_numpy(layout.positions()),
            next_position=layout.end,
            sounds=tuple(item for item in sounds if isinstance(item, Spectrogram)),
            images=tuple(item for item in media if isinstance(item, Patches)),
            videos=tuple(item.patches for item in media if isinstance(item, _Video)),
        )

    def _refuse_beyond_measure(self, turn: Turn) -> None:
        """Text too long even in the longest tokens: to count them would take seconds for a megabyte."""
        characters = sum(len(part.text) for part in _parts(turn) if isinstance(part, TextPart))
        if characters > self._most_tokens * self._longest_token:
            raise _too_long(f"the text has {characters} characters", self._most_tokens)

    def _refuse_control_tokens(self, turn: Turn) -> None:
        """Such text would pass for the end of a message, or for a picture that is not there."""
        for part in _parts(turn):
            if isinstance(part, TextPart) and (found := self._control_token.search(part.text)):
                raise invalid(f"text holds {found.group()}, one of the model's control tokens; leave it out")

    def _refuse_too_long(self, tokens: int) -> None:
        if tokens >= self._most_tokens:
            raise _too_long(f"the prompt has {tokens} tokens", self._most_tokens)

    def _read_media(
        self, turn: Turn, pixels: "_Reader[np.uint8]", samples: "_Reader[np.float32]"
    ) -> Iterator[_Media]:
        for part in _parts(turn):
            match part:
                case TextPart():
                    pass
                case ImagePart():
                    yield self._media.read_image(pixels.take(part.height, part.width, 3))
                case AudioPart():
                    yield self._media.read_sound(samples.take(part.samples))
                case VideoPart():
                    yield self._read_video(part, pixels, samples)
                case _:
                    assert_never(part)
        pixels.finish()
        samples.finish()

    def _read_video(
        self, part: VideoPart, pixels: "_Reader[np.uint8]", samples: "_Reader[np.float32]"
    ) -> _Video:
        if not part.fps > 0:
            raise invalid(f"a video's fps must be more than 0, not {part.fps}")
        patches = self._media.read_video(pixels.take(part.frames, part.height, part.width, 3), part.fps)
        sound = self._media.read_sound(samples.take(part.samples)) if part.samples else None
        return _Video(patches=patches, sound=sound)

    def _render(self, turn: Turn) -> str:
        messages = [
            {"role": message.role, "content": [_describe(part) for part in message.content]}
            for message in turn.messages
        ]
        if not messages:
            raise invalid("there is no message")
        text: str = self._processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return text

    def _lay_out(self, ids: list[int], media: list[_Media]) -> PromptLayout:
        """Replace the one token that the template leaves for each picture, video or sound."""
        config = self._config
        placeholders = {config.image_token_id, config.video_token_id, config.audio_token_id}
        layout = PromptLayout()
        remaining = iter(media)
        run_start = 0
        for index, token in enumerate(ids):
            if token in placeholders:
                layout.add_run(ids[run_start:index])
                self._add_media(layout, next(remaining))
                run_start = index + 1
        layout.add_run(ids[run_start:])
        return layout

    def _add_media(self, layout: PromptLayout, item: _Media) -> None:
        match item:
            case Spectrogram():
                layout.add_run([self._config.audio_token_id] * item.tokens)
            case Patches():
                layout.add_grid(self._config.image_token_id, item.grid)
            case _Video():
                self._add_video(layout, item)
            case _:
                assert_never(item)

    def _add_video(self, layout: PromptLayout, video: _Video) -> None:
        config, grid = self._config, video.patches.grid
        if video.sound is None:
            layout.add_grid(config.video_token_id, grid)
            return
        # The sound's start and end stand where the video's do.
        layout.hold()
        layout.add_run([config.audio_start_token_id])
        layout.add_woven(
            grid=grid,
            sound=video.sound.tokens,
            tokens=(config.video_token_id, config.audio_token_id),
            span=self._weave_span,
        )
        layout.add_run([config.audio_end_token_id])
        layout.hold()


class _Reader(Generic[Number]):
    """Cuts one flat array by the parts of a turn."""

    def __init__(self, values: NDArray[Number], name: str) -> None:
        self._values = values
        self._name = name
        self._taken = 0

    def take(self, *shape: int) -> NDArray[Number]:
        count = int(np.prod(shape))
        if min(shape) < 1:
            raise invalid(f"a picture, video or sound is empty: {' x '.join(map(str, shape))}")
        if self._taken + count > len(self._values):
            raise invalid(f"{self._name} ends {self._taken + count - len(self._values)} values early")
        self._taken += count
        return self._values[self._taken - count : self._taken].reshape(shape)

    def finish(self) -> None:
        if self._taken != len(self._values):
            raise invalid(f"{self._name} has {len(self._values) - self._taken} values more than the messages")


def _parts(turn: Turn) -> Iterator[Part]:
    return (part for message in turn.messages for part in message.content)


def _too_long(found: str, most: int) -> StageError:
    message = f"{found} and the model's context is {most} tokens long; shorten the conversation"
    return StageError(StageFailure(type="context_length_exceeded", message=message, param="messages"))


def _describe(part: Part) -> dict[str, Any]:
    """What the chat template looks at."""
    return {"type": part.type, "text": part.text} if isinstance(part, TextPart) else {"type": part.type}
