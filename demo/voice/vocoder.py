"""Trains the vocoder: from the mel of the corpus to its sound.

Losses on the mel and on the spectrum at four resolutions from the start; once these have done their work,
small discriminators on the spectrum as well, which take away the metallic ring that they leave.
"""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavBigVGANModel

from demo.training import Recipe, train
from demo.voice.corpus import Speech, cut_mels, cut_waves, draw_frames
from demo.voice.spectra import measure_amplitude, measure_mel

_FRAMES: Final = 36
_RESOLUTIONS: Final = ((1024, 256), (512, 128), (2048, 512), (256, 64))
"""FFT size and hop."""
_MEL_WEIGHT: Final = 3.0
_FURTHER_MEL_WEIGHT: Final = 6.0
_JUDGES_FROM: Final = 0.35
"""Share of the training after which the discriminators join."""
_RATE: Final = 1e-3
_FURTHER_RATE: Final = 1.2e-4
"""Four times that throws a trained one back by a fifth."""
_JUDGES_RATE: Final = 2e-4
_JUDGED_WEIGHT: Final = 0.15
_MATCHED_WEIGHT: Final = 0.3


def train_vocoder(
    config: Any,
    speech: Speech,
    folder: Path,
    *,
    seconds: float,
    batch: int,
    begin: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """`begin` is what an earlier training made, to go on from there at a lower rate and without judges: it is
    for words that are heard wrong, which lack nothing but the right mel.
    """
    device = speech.mel.device
    net = Qwen2_5OmniToken2WavBigVGANModel(config)
    if begin is not None:
        net.load_state_dict(begin)
        rate, judges_from, mel_weight = _FURTHER_RATE, 1.0, _FURTHER_MEL_WEIGHT
    else:
        rate, judges_from, mel_weight = _RATE, _JUDGES_FROM, _MEL_WEIGHT
        for module in net.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                module.reset_parameters()  # the model's own start leaves it silent after twenty layers
    lessons = _Lessons(net.to(device).train(), speech, batch, judges_from, mel_weight)
    recipe = Recipe(seconds=seconds, rate=rate, betas=(0.8, 0.99), clip=5.0)
    return train("vocoder", net, folder, recipe, lessons.measure)


def render(net: Any, mel: Tensor) -> Tensor:
    """(batch, frames, 80) -> (batch, samples): the network's forward, which squeezes and copies to a CPU."""
    hidden = net.conv_pre(net.process_mel_spectrogram(mel.transpose(1, 2)))
    per_stage = net.num_residual_blocks
    for stage, upsample in enumerate(net.ups):
        hidden = upsample[0](hidden)
        blocks = net.resblocks[stage * per_stage : (stage + 1) * per_stage]
        hidden = sum(block(hidden) for block in blocks) / per_stage
    wave: Tensor = net.conv_post(net.activation_post(hidden))
    return wave[:, 0]


class _Lessons:
    def __init__(self, net: Any, speech: Speech, batch: int, judges_from: float, mel_weight: float) -> None:
        self._net, self._speech, self._batch = net, speech, batch
        self._judges_from, self._mel_weight = judges_from, mel_weight
        device = speech.mel.device
        self._judges = nn.ModuleList(_Judge(fft, hop) for fft, hop in _RESOLUTIONS[:3]).to(device)
        self._judges_optimizer = torch.optim.AdamW(
            self._judges.parameters(), lr=_JUDGES_RATE, betas=(0.8, 0.99), foreach=True
        )

    def measure(self, progress: float) -> dict[str, Tensor]:
        speech = self._speech
        starts = draw_frames(speech, self._batch, _FRAMES)
        mel, true = cut_mels(speech, starts, _FRAMES), cut_waves(speech, starts, _FRAMES)
        made = render(self._net, mel)
        mel_error = (measure_mel(made) - measure_mel(true)).abs().mean()
        spectrum_error = _compare_spectra(made, true)
        loss = spectrum_error + self._mel_weight * mel_error
        shown = {"mel": mel_error, "spectrum": spectrum_error}
        if progress > self._judges_from:
            shown["judges"] = self._teach_judges(made.detach(), true)
            loss = loss + self._judge(made, true)
        return {"loss": loss, **shown}

    def _teach_judges(self, made: Tensor, true: Tensor) -> Tensor:
        error = made.new_zeros(())
        for judge in self._judges:
            error = error + (judge(true)[-1] - 1).square().mean() + judge(made)[-1].square().mean()
        self._judges_optimizer.zero_grad(set_to_none=True)
        error.backward()  # type: ignore[no-untyped-call]
        self._judges_optimizer.step()
        return error

    def _judge(self, made: Tensor, true: Tensor) -> Tensor:
        total = made.new_zeros(())
        for judge in self._judges:
            seen = judge(made)
            with torch.no_grad():
                wanted = judge(true)
            total = total + _JUDGED_WEIGHT * (seen[-1] - 1).square().mean()
            for ours, theirs in zip(seen[:-1], wanted[:-1], strict=True):
                total = total + _MATCHED_WEIGHT * functional.l1_loss(ours, theirs) / (len(seen) - 1)
        return total


class _Judge(nn.Module):
    """Tells true sound from made sound by its spectrum at one resolution."""

    def __init__(self, fft: int, hop: int, width: int = 24) -> None:
        super().__init__()
        self._fft, self._hop = fft, hop
        norm = nn.utils.parametrizations.weight_norm
        sizes = [(1, (1, 1)), (width, (2, 1)), (width, (2, 1)), (width, (2, 2))]
        self.layers = nn.ModuleList(
            norm(nn.Conv2d(inputs, width, (7, 3), stride, (3, 1))) for inputs, stride in sizes
        )
        self.verdict = norm(nn.Conv2d(width, 1, 3, 1, 1))

    def forward(self, wave: Tensor) -> list[Tensor]:
        """What each layer made of it, and the verdict last."""
        hidden = measure_amplitude(wave, self._fft, self._hop, self._fft).clamp(min=1e-4).log()[:, None]
        seen = []
        for layer in self.layers:
            hidden = functional.leaky_relu(layer(hidden), 0.1)
            seen.append(hidden)
        return [*seen, self.verdict(hidden)]


def _compare_spectra(made: Tensor, true: Tensor) -> Tensor:
    """Mean over the resolutions of the log distance and the relative one."""
    total = made.new_zeros(())
    for fft, hop in _RESOLUTIONS:
        ours, theirs = measure_amplitude(made, fft, hop, fft), measure_amplitude(true, fft, hop, fft)
        total = total + (ours.log() - theirs.log()).abs().mean()
        total = total + (ours - theirs).norm() / theirs.norm()
    return total / len(_RESOLUTIONS)
