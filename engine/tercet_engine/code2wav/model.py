"""The networks of code2wav on one device, read from a checkpoint's `token2wav.` tensors.

`stage` loads one SpeechModel per device, before it opens its thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from tercet_wire.settings import StageSettings
from torch import nn
from transformers.initialization import no_init_weights
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5OmniToken2WavBigVGANModel,
    Qwen2_5OmniToken2WavDiTModel,
)

from tercet_engine.checkpoint import Checkpoint, CheckpointError
from tercet_engine.code2wav.dit import BlockDit, Voice
from tercet_engine.code2wav.vocoder import Vocoder


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechModel:
    dit: BlockDit
    vocoder: Vocoder
    voices: Mapping[str, Voice]


def load_model(checkpoint: Checkpoint, settings: StageSettings, device: torch.device) -> SpeechModel:
    if not checkpoint.speakers:
        raise CheckpointError(checkpoint.folder, ["it has no voices (spk_dict.pt), and speaks no sound"])
    config = checkpoint.config.token2wav_config
    with no_init_weights():  # the checkpoint has them all, and drawing them takes seconds
        net = Qwen2_5OmniToken2WavDiTModel(config.dit_config)
        vocoder = Qwen2_5OmniToken2WavBigVGANModel(config.bigvgan_config)
    _fill(net, checkpoint, "token2wav.code2wav_dit_model.")
    _fill(vocoder, checkpoint, "token2wav.code2wav_bigvgan_model.")
    dit = BlockDit(net, device, getattr(torch, settings.dtype))
    dit.prepare(settings.window.solver, settings.window.points)
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # the vocoder has full precision, as the reference
    return SpeechModel(
        dit=dit,
        vocoder=Vocoder(vocoder, device),
        voices={
            name: dit.build_voice(speaker.cond, speaker.ref_mel)
            for name, speaker in checkpoint.speakers.items()
        },
    )


def _fill(net: nn.Module, checkpoint: Checkpoint, prefix: str) -> None:
    """On the CPU in float32; what each part keeps is placed where it is used.

    Tensors that the classes do not know are passed over: published files hold constants as well.
    """
    missing = net.load_state_dict(checkpoint.load(prefix), strict=False).missing_keys
    if missing:
        raise CheckpointError(
            checkpoint.folder, [f"no file holds the tensor {prefix}{name}" for name in missing]
        )
    net.eval()
