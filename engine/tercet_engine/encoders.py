"""The thinker's ears and eyes: transformers' audio and vision encoders with their own weights only.

Used by the thinker stage, on its device, between `prompts` and the decoder, by one thread at a time. It
merges what they see and hear into the prompt's embeddings; it knows neither tokenizer nor step loop.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoder,
    Qwen2_5OmniVisionEncoder,
)

from tercet_engine.checkpoint import Checkpoint
from tercet_engine.media import Patches, Spectrogram, invalid
from tercet_engine.prompts import Prepared

_AUDIO: Final = "thinker.audio_tower."
_VISION: Final = "thinker.visual."


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the decoder starts from. `text_embeds` are zero at media tokens: the talker gets those.

    Embeddings are those of the rows from `start` on.
    """

    ids: Tensor  # (n,) int64
    embeds: Tensor  # (n - start, hidden)
    text_embeds: Tensor  # (n - start, hidden)
    positions: Tensor  # (3, n) int32
    next_position: int
    audio_tokens: int
    image_tokens: int
    video_tokens: int
    start: int = 0


class Encoders:
    """A checkpoint without an encoder's tensors has no such encoder; prompts that need it are refused."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        config = checkpoint.config.thinker_config
        self._config = config
        self._device = device
        self._dtype = dtype
        self._audio = self._load(checkpoint, _AUDIO, lambda: Qwen2_5OmniAudioEncoder(config.audio_config))
        self._vision = self._load(checkpoint, _VISION, lambda: Qwen2_5OmniVisionEncoder(config.vision_config))

    @torch.no_grad()
    def embed(self, prepared: Prepared, embed_tokens: Callable[[Tensor], Tensor], start: int = 0) -> Prompt:
        """`embed_tokens` maps ids on this device to rows of the thinker's embedding matrix.

        The rows before `start` need none; what is seen or heard only there is not encoded.
        """
        config = self._config
        ids = prepared.ids.to(self._device)
        embeds = embed_tokens(ids[start:])
        text_embeds = embeds.clone()
        counts: dict[int, int] = {}
        # Any: sounds for one encoder, patches for the other.
        kinds: tuple[tuple[int, Sequence[Any], Callable[[Sequence[Any]], Tensor]], ...] = (
            (config.audio_token_id, prepared.sounds, self._hear),
            (config.image_token_id, prepared.images, self._see),
            (config.video_token_id, prepared.videos, self._see),
        )
        for token, things, encode in kinds:
            counts[token] = sum(thing.tokens for thing in things)
            places = ids[start:] == token
            wanted = int(places.sum())
            features = encode(_drop_first(things, counts[token] - wanted))
            embeds[places] = features[len(features) - wanted :].to(embeds.dtype)
            text_embeds[places] = 0
        return Prompt(
            ids=ids,
            embeds=embeds,
            text_embeds=text_embeds,
            positions=prepared.positions.to(self._device),
            next_position=prepared.next_position,
            audio_tokens=counts[config.audio_token_id],
            image_tokens=counts[config.image_token_id],
            video_tokens=counts[config.video_token_id],
            start=start,
        )

    def _hear(self, sounds: Iterable[Spectrogram]) -> Tensor:  # (tokens, hidden)
        mels = [sound.mel for sound in sounds]
        if not mels:
            return self._nothing()
        if self._audio is None:
            raise invalid("this model takes no sound")
        frames = torch.tensor([mel.shape[1] for mel in mels], device=self._device)
        features = torch.cat(mels, dim=1).to(self._device, self._dtype)
        halved, _ = self._audio._get_feat_extract_output_lengths(frames)
        heard: Tensor = self._audio(features, feature_lens=frames, aftercnn_lens=halved).last_hidden_state
        return heard

    def _see(self, views: Iterable[Patches]) -> Tensor:  # (tokens, hidden)
        patches = list(views)
        if not patches:
            return self._nothing()
        if self._vision is None:
            raise invalid("this model takes no pictures or videos")
        values = torch.cat([view.values for view in patches]).to(self._device, self._dtype)
        grid = torch.cat([view.grid_thw for view in patches]).to(self._device)
        seen: Tensor = self._vision(values, grid_thw=grid).pooler_output
        return seen

    def _nothing(self) -> Tensor:
        return torch.empty(0, self._config.text_config.hidden_size, dtype=self._dtype, device=self._device)

    def _load(self, checkpoint: Checkpoint, prefix: str, build: Callable[[], nn.Module]) -> Any:
        """The module with its weights, or None. Any: transformers ships no types.

        Its buffers (rotary frequencies) keep their own precision: rounded, they would misplace far patches.
        """
        weights = {name: tensor.to(self._dtype) for name, tensor in checkpoint.load(prefix).items()}
        if not weights:
            return None
        with init_empty_weights(include_buffers=False):
            module = build()
        module.load_state_dict(weights, assign=True)
        return module.to(self._device).eval().requires_grad_(requires_grad=False)


def _drop_first(things: Sequence[Any], tokens: int) -> Sequence[Any]:
    """Without those that lie wholly within the first so many tokens."""
    ends = accumulate(thing.tokens for thing in things)
    return [thing for thing, end in zip(things, ends, strict=True) if end > tokens]
