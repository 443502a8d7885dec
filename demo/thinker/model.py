"""The thinker for training: transformers' own encoders and decoder, called as the engine calls them."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoder,
    Qwen2_5OmniThinkerTextModel,
    Qwen2_5OmniVisionEncoder,
)

from demo.thinker.encoders import attend_by_length, embed_patches_by_product
from demo.thinker.lessons import Batch


class ThinkerNet(nn.Module):
    """Its parameters are named as a checkpoint names them, without `thinker.`."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self._config = config
        self.audio_tower = Qwen2_5OmniAudioEncoder(config.audio_config)
        self.visual = Qwen2_5OmniVisionEncoder(config.vision_config)
        self.model = Qwen2_5OmniThinkerTextModel._from_config(config.text_config, attn_implementation="sdpa")
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        for encoder in (self.audio_tower, self.visual):
            attend_by_length(encoder)
        embed_patches_by_product(self.visual)
        nn.init.normal_(self.lm_head.weight, std=0.02)
        nn.init.normal_(self.model.embed_tokens.weight, std=0.5)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Final hidden states and the embeddings that the talker is given too: (batch, rows, hidden) each."""
        config = self._config
        embeds = self.model.embed_tokens(batch.ids)
        texts = embeds.masked_fill(self._is_media(batch.ids)[..., None], 0)
        for token, features in (
            (config.audio_token_id, self._hear(batch)),
            (config.image_token_id, self._see(batch.images, batch.image_grids)),
            (config.video_token_id, self._see(batch.videos, batch.video_grids)),
        ):
            if features is not None:
                places = (batch.ids == token)[..., None].expand_as(embeds)
                embeds = embeds.masked_scatter(places, features.to(embeds.dtype))
        hidden = self.model(inputs_embeds=embeds, position_ids=batch.positions, use_cache=False).last_hidden_state
        return hidden, texts

    def score(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits and targets where a token of a reply comes next."""
        hidden, _ = self(batch)
        wanted = batch.targets >= 0
        return self.lm_head(hidden[wanted]), batch.targets[wanted]

    def _is_media(self, ids: Tensor) -> Tensor:
        config = self._config
        media = [config.audio_token_id, config.image_token_id, config.video_token_id]
        return torch.isin(ids, torch.tensor(media, device=ids.device))

    def _hear(self, batch: Batch) -> Tensor | None:
        if not len(batch.mel_frames):
            return None
        halved, _ = self.audio_tower._get_feat_extract_output_lengths(batch.mel_frames)
        heard: Tensor = self.audio_tower(
            batch.mels, feature_lens=batch.mel_frames, aftercnn_lens=halved
        ).last_hidden_state
        return heard

    def _see(self, values: Tensor, grids: Tensor) -> Tensor | None:
        if not len(grids):
            return None
        seen: Tensor = self.visual(values, grid_thw=grids).pooler_output
        return seen
