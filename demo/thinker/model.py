"""The thinker for training: transformers' own encoders and decoder, called as the engine calls them.

Its embeddings are drawn and stay as they are. The talker is given their sum with the last hidden states,
and these are made so weak that the talker can be trained beside the thinker, before or after it.
"""

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoder,
    Qwen2_5OmniThinkerTextModel,
    Qwen2_5OmniVisionEncoder,
)

from demo.thinker.beginning import begin_with_copying
from demo.thinker.encoders import attend_by_length, embed_patches_by_product
from demo.thinker.lessons import Batch

HIDDEN_SHARE: Final = 0.05
"""How strong the last hidden states are beside the embeddings."""
_EMBEDDED: Final = 0.5


def draw_embeddings(vocabulary: int, hidden: int) -> Tensor:
    generator = torch.Generator().manual_seed(17)
    return _EMBEDDED * torch.randn(vocabulary, hidden, generator=generator)


def weaken_states(weights: dict[str, Tensor]) -> None:
    """Scale the final norm down and the head up, so that the thinker's own words stay the same."""
    _scale_states(weights, HIDDEN_SHARE * _EMBEDDED)


def strengthen_states(weights: dict[str, Tensor]) -> None:
    """The opposite: states as strong as a network begins with."""
    _scale_states(weights, 1.0)


def _scale_states(weights: dict[str, Tensor], strength: float) -> None:
    norm, head = weights["model.norm.weight"], weights["lm_head.weight"]
    share = strength / norm.square().mean().sqrt()
    norm.mul_(share)
    head.div_(share)


class ThinkerNet(nn.Module):
    """Its parameters are named as a checkpoint names them, without `thinker.`."""

    def __init__(self, config: Any, attention: str = "sdpa") -> None:
        super().__init__()
        self._config = config
        self.audio_tower = Qwen2_5OmniAudioEncoder(config.audio_config)
        self.visual = Qwen2_5OmniVisionEncoder(config.vision_config)
        self.model = Qwen2_5OmniThinkerTextModel._from_config(
            config.text_config, attn_implementation=attention
        )
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        for encoder in (self.audio_tower, self.visual):
            attend_by_length(encoder)
        embed_patches_by_product(self.visual)
        nn.init.normal_(self.lm_head.weight, std=0.02)
        embeddings = draw_embeddings(*self.model.embed_tokens.weight.shape)
        self.model.embed_tokens.weight = nn.Parameter(embeddings, requires_grad=False)
        begin_with_copying(self.model, self.lm_head.weight, config.text_config.rope_parameters["rope_theta"])

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits and targets where a token of a reply comes next: (n, vocabulary) and (n,)."""
        return self.reply(batch, self.perceive(batch))

    def perceive(self, batch: Batch) -> list[Tensor]:
        """Features of each sound, each picture and each video, in this order: (rows, hidden) each."""
        return [
            *self._hear(batch),
            *self._see(batch.images, batch.image_grids),
            *self._see(batch.videos, batch.video_grids),
        ]

    def reply(self, batch: Batch, perceived: list[Tensor]) -> tuple[Tensor, Tensor]:
        """As `forward`."""
        config = self._config
        embeds = self.model.embed_tokens(batch.ids)
        first = 0
        for token, count in (
            (config.audio_token_id, len(batch.mel_frames)),
            (config.image_token_id, len(batch.image_grids)),
            (config.video_token_id, len(batch.video_grids)),
        ):
            if count:
                features = torch.cat(perceived[first : first + count])
                places = (batch.ids == token)[..., None].expand_as(embeds)
                embeds = embeds.masked_scatter(places, features.to(embeds.dtype))
                first += count
        shared = self._count_shared(batch)
        hidden = self.model(
            inputs_embeds=embeds[:, shared:],
            position_ids=batch.positions[:, :, shared:],
            past_key_values=self._read_shared(embeds, batch.positions, shared),
            use_cache=True,
        ).last_hidden_state
        targets = batch.targets[:, shared:]
        wanted = targets >= 0
        return self.lm_head(hidden[wanted]), targets[wanted]

    def _count_shared(self, batch: Batch) -> int:
        """How many rows of text all conversations begin with: the system prompt, most of what they are."""
        media = torch.tensor(
            [self._config.audio_token_id, self._config.image_token_id, self._config.video_token_id],
            device=batch.ids.device,
        )
        alike = (batch.ids == batch.ids[:1]) & (batch.targets < 0) & ~torch.isin(batch.ids, media)
        alike &= (batch.positions == batch.positions[:, :1]).all(0)
        return int(alike.all(0).cumprod(0).sum())

    def _read_shared(self, embeds: Tensor, positions: Tensor, shared: int) -> DynamicCache:
        """Keys and values of the rows that all begin with, computed once."""
        cache = DynamicCache(config=self.model.config)
        if shared:
            self.model(
                inputs_embeds=embeds[:1, :shared],
                position_ids=positions[:, :1, :shared],
                past_key_values=cache,
                use_cache=True,
            )
            cache.batch_repeat_interleave(len(embeds))
        return cache

    def _hear(self, batch: Batch) -> Iterable[Tensor]:
        if not len(batch.mel_frames):
            return ()
        halved, rows = self.audio_tower._get_feat_extract_output_lengths(batch.mel_frames)
        heard: Tensor = self.audio_tower(
            batch.mels, feature_lens=batch.mel_frames, aftercnn_lens=halved
        ).last_hidden_state
        return torch.split(heard, rows.tolist())

    def _see(self, values: Tensor, grids: Tensor) -> Iterable[Tensor]:
        if not len(grids):
            return ()
        seen: Tensor = self.visual(values, grid_thw=grids).pooler_output
        merged = self._config.vision_config.spatial_merge_size**2
        return torch.split(seen, (grids.prod(-1) // merged).tolist())
