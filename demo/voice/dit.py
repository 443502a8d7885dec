"""Trains the DiT by flow matching: from noise and codes to the mel of the corpus.

The velocity to learn is `mel - noise` along the straight way between them. For classifier-free guidance all
of code, voice and reference are dropped together, as in the reference's unconditioned pass, where the code
is 0 and voice and reference mel are zero.
"""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavDiTModel

from demo.training import Recipe, train
from demo.voice.codec import read_codec
from demo.voice.corpus import Speech, cut_mels, draw_frames
from demo.voice.speakers import REFERENCE_FRAMES, build_speaker_vectors

_FRAMES: Final = 192
_DROP_ALL: Final = 0.15
_DROP_VOICE: Final = 0.1
_MASK_CODE: Final = 0.02
"""Share of codes that are exchanged for others: the talker is not always right either."""
_FURTHER_SHARE: Final = 0.4
"""Of the rates, for one that is trained already."""


def train_dit(
    config: Any,
    speech: Speech,
    folder: Path,
    *,
    seconds: float,
    batch: int,
    begin: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """`begin` is what an earlier training made, to go on from there at a lower rate."""
    device = speech.mel.device
    net = Qwen2_5OmniToken2WavDiTModel._from_config(config, attn_implementation="sdpa").to(device).train()
    centroids, codes = read_codec(folder)
    if begin is None:
        _start_from_centroids(net, centroids)
    else:
        net.load_state_dict(begin)
    flow = _Flow(net, speech, codes.to(device), build_speaker_vectors(config.enc_emb_dim).to(device), batch)
    share = 1.0 if begin is None else _FURTHER_SHARE
    recipe = Recipe(seconds=seconds, rate=share * 1e-3, matrix_rate=share * 3e-3)
    return train("dit", net, folder, recipe, flow.measure)


class _Flow:
    def __init__(self, net: nn.Module, speech: Speech, codes: Tensor, speakers: Tensor, batch: int) -> None:
        self._net, self._speech, self._codes, self._speakers, self._batch = (
            net,
            speech,
            codes,
            speakers,
            batch,
        )
        lengths = speech.starts.diff()
        self._voice_of_frame = speech.voices.repeat_interleave(lengths)
        self._of_voice = [
            (self._voice_of_frame[:-REFERENCE_FRAMES] == voice).nonzero()[:, 0]
            for voice in range(len(speakers))
        ]

    def measure(self, progress: float) -> dict[str, Tensor]:
        del progress
        device, count = self._codes.device, self._batch
        starts = draw_frames(self._speech, count, _FRAMES) // 2 * 2
        mel = cut_mels(self._speech, starts, _FRAMES)
        codes = self._codes[starts[:, None] // 2 + torch.arange(_FRAMES // 2, device=device)]
        wrong = torch.rand(codes.shape, device=device) < _MASK_CODE
        codes = torch.where(
            wrong, self._codes[torch.randint(len(self._codes), codes.shape, device=device)], codes
        )
        voices = self._voice_of_frame[starts + _FRAMES // 2]
        fate = torch.rand(count, device=device)
        dropped, voiceless = fate < _DROP_ALL, fate < _DROP_ALL + _DROP_VOICE
        heard = (~voiceless).float()[:, None, None]
        noise = torch.randn_like(mel)
        time = torch.rand(count, device=device)
        share = time[:, None, None]
        velocity = self._net(
            hidden_states=torch.lerp(noise, mel, share),
            condition_vector=self._references(voices) * heard,
            speaker_embedding=self._speakers[voices][:, None].expand(-1, _FRAMES, -1) * heard,
            quantized_code=codes.masked_fill(dropped[:, None], 0),
            time_step=time,
            apply_cfg=False,
        )
        errors = (velocity - (mel - noise)).square().mean((1, 2))
        told = (~dropped).float()
        return {"loss": errors.mean(), "told": (errors * told).sum() / told.sum()}

    def _references(self, voices: Tensor) -> Tensor:
        starts = torch.zeros_like(voices)
        for voice, frames in enumerate(self._of_voice):
            chosen = frames[torch.randint(len(frames), voices.shape, device=voices.device)]
            starts = torch.where(voices == voice, chosen, starts)
        return cut_mels(self._speech, starts, REFERENCE_FRAMES)


@torch.no_grad()
def _start_from_centroids(net: Any, centroids: Tensor) -> None:
    """A code's embedding begins as the principal components of the sound that it stands for."""
    table = net.text_embed.codec_embed.weight
    centred = centroids - centroids.mean(0)
    _, _, components = torch.linalg.svd(centred, full_matrices=False)
    table.zero_()
    table[1 : len(centroids) + 1] = (centred @ components[: table.shape[1]].T).to(table)
    nn.init.xavier_uniform_(net.input_embed.proj.weight)
