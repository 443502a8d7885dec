"""Codes to mel: the reference's DiT, block by block, for the windows of many turns at once.

`stage` calls `BlockDit.decode` once a step. Over a whole sequence the result equals transformers'
`Qwen2_5OmniToken2WavDiTModel.sample`; its cost grows linearly with the length, and a window can go on
from the one before it through the look-back keys and values that are kept for every evaluation.
Knows neither turns nor time; `windows` says what to decode.

Shapes: c = 2 (conditioned, unconditioned); rows = blocks of all windows; width = frames in a row, at most 24.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

import torch
from tercet_wire.settings import Solver
from torch.nn import functional

from tercet_engine.code2wav.dit_layers import DitLayer, Past, build_rotations, modulate, place_linear
from tercet_engine.code2wav.modulation import Timeline, TimelineBuilder
from tercet_engine.code2wav.rows import Extent, Rows, build_rows
from tercet_engine.code2wav.schedule import integrate
from tercet_engine.code2wav.windows import BLOCK_FRAMES, FRAMES_PER_CODE

GUIDANCE: Final = 0.5
SCHEDULES_KEPT: Final = 4
"""Modulations of the last few schedules stay in memory: 20 MB each for rk4 with 10 points at full size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """What the input projection adds for a voice, bias included: (hidden,) each."""

    conditioned: torch.Tensor
    unconditioned: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A window's input. `past` is `Decoded.past` of the window before it, None at the start of a turn.

    `noise` (2 * codes, mel). The first `final_blocks` blocks are final: the last of them becomes the past.
    """

    codes: Sequence[int]
    noise: torch.Tensor
    voice: Voice
    past: torch.Tensor | None
    final_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """`mel` (2 * codes, mel); `past` (evaluations, look-back layers, c, 24, 2, heads, head dim)."""

    mel: torch.Tensor
    past: torch.Tensor | None


class BlockDit:
    """Owns its weights: `net` may be dropped once this is built, all but its time embeddings."""

    def __init__(self, net: Any, device: torch.device, dtype: torch.dtype) -> None:
        config = net.config
        if config.block_size != BLOCK_FRAMES or config.repeats != FRAMES_PER_CODE:
            raise ValueError(
                f"the DiT has blocks of {config.block_size} frames and {config.repeats} frames per code; "
                f"windows are cut for {BLOCK_FRAMES} and {FRAMES_PER_CODE}"
            )
        self.device, self.dtype = device, dtype
        self.mel_dim: int = config.mel_dim
        self._num_codes: int = config.num_embeds
        rotations = build_rotations(net.rotary_embed, device)
        heads: int = config.num_attention_heads
        self._layers = [DitLayer(block, rotations, heads, device, dtype) for block in net.transformer_blocks]
        looking_back = sum(layer.looks_back for layer in self._layers)
        self._past_shape = (looking_back, 2, BLOCK_FRAMES, 2, heads, config.head_dim)
        self._split_input(net)
        self._project_out = place_linear(net.proj_out.weight, net.proj_out.bias, device, dtype)
        self._timeline = lru_cache(maxsize=SCHEDULES_KEPT)(TimelineBuilder(net, device, dtype))
        self._speaker_encoder = net.input_embed.spk_encoder

    def _split_input(self, net: Any) -> None:
        """The input projection is linear: what does not depend on the noise is worked out beforehand."""
        config, projection = net.config, net.input_embed.proj
        sizes = [config.mel_dim, config.enc_dim, config.emb_dim, config.enc_emb_dim]
        noise, self._from_voice, code, self._from_speaker = projection.weight.detach().split(sizes, 1)
        self._bias = projection.bias.detach()
        self._project_noise = noise.to(self.device, self.dtype, copy=True)
        table = net.text_embed.codec_embed.weight.detach() @ code.T
        self._code_table = table.to(self.device, self.dtype)  # (codes + 1, hidden)

    @torch.inference_mode()
    def build_voice(self, speaker: torch.Tensor, reference_mel: torch.Tensor) -> Voice:
        """Runs the speaker encoder: once a voice. `speaker` (1, n); `reference_mel` (1, frames, mel)."""
        mels = torch.cat([reference_mel, torch.zeros_like(reference_mel)])
        both = self._speaker_encoder(mels.float()) @ self._from_voice.T + self._bias
        both[0] += speaker[0].float() @ self._from_speaker.T
        conditioned, unconditioned = both.to(self.device, self.dtype)
        return Voice(conditioned=conditioned, unconditioned=unconditioned + self._code_table[0])

    def prepare(self, solver: Solver, points: int) -> None:
        """Work out a schedule's modulations now, not in the first turn that asks for it."""
        self._timeline(solver, points)

    @torch.inference_mode()
    def decode(self, segments: Sequence[Segment], solver: Solver, points: int) -> list[Decoded]:
        """Integrate all windows in step; each result is the same as if its window were alone."""
        timeline = self._timeline(solver, points)
        extents = [
            Extent(frames=len(s.noise), has_past=s.past is not None, final_blocks=s.final_blocks)
            for s in segments
        ]
        rows = build_rows(extents, self.device)
        batch = _Batch(
            timeline=timeline,
            rows=rows,
            known=self._lay_out_known(segments, rows),
            past=_stack_pasts(segments),
            kept=self._open_kept(timeline.schedule.evaluations, len(rows.kept)),
        )
        noise = rows.lay_out([segment.noise for segment in segments]).to(self.device)
        state = integrate(timeline.schedule, partial(self._velocity, batch), noise)
        kept = iter(batch.kept.unbind(3))
        return [
            Decoded(mel=mel, past=next(kept).clone() if segment.final_blocks else segment.past)
            for mel, segment in zip(rows.gather(state, extents), segments, strict=True)
        ]

    def _lay_out_known(self, segments: Sequence[Segment], rows: Rows) -> torch.Tensor:
        """What of the input projection stays the same in all evaluations: (c, rows, width, hidden)."""
        conditioned, unconditioned = [], []
        for segment in segments:
            ids = torch.tensor([code if 0 <= code < self._num_codes else 0 for code in segment.codes])
            embedded = self._code_table[ids.to(self.device)] + segment.voice.conditioned
            conditioned.append(embedded.repeat_interleave(FRAMES_PER_CODE, 0))
            unconditioned.append(segment.voice.unconditioned.expand(len(segment.noise), -1))
        return torch.stack([rows.lay_out(conditioned), rows.lay_out(unconditioned)])

    def _open_kept(self, evaluations: int, windows: int) -> torch.Tensor:
        layers, passes, *block = self._past_shape
        shape = (evaluations, layers, passes, windows, *block)
        return torch.empty(shape, device=self.device, dtype=self.dtype)

    def _velocity(self, batch: "_Batch", evaluation: int, state: torch.Tensor) -> torch.Tensor:
        """`state` (rows, width, mel), and so the result: both passes of the network, guided."""
        projected = functional.linear(state.to(self.dtype), self._project_noise)
        hidden = (projected + batch.known).flatten(0, 1)  # (c * rows, width, hidden)
        pasts = iter(batch.iter_pasts(evaluation))
        for layer, modulation in zip(self._layers, batch.timeline.layers[evaluation], strict=True):
            hidden = layer(hidden, modulation, batch.rows, next(pasts) if layer.looks_back else None)
        normed = modulate(hidden, batch.timeline.out[evaluation])
        conditioned, unconditioned = normed.chunk(2)
        # The projection is linear, so the guidance can come before it, at half the work.
        return self._project_out(torch.lerp(unconditioned, conditioned, 1 + GUIDANCE)).float()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """`past` and `kept` (evaluations, look-back layers, c, windows that have one, 24, 2, heads, d)."""

    timeline: Timeline
    rows: Rows
    known: torch.Tensor
    past: torch.Tensor | None
    kept: torch.Tensor

    def iter_pasts(self, evaluation: int) -> Iterator[Past]:
        """For each look-back layer in turn."""
        for layer, kept in enumerate(self.kept[evaluation]):
            yield Past(known=None if self.past is None else self.past[evaluation, layer], kept=kept)


def _stack_pasts(segments: Sequence[Segment]) -> torch.Tensor | None:
    pasts = [segment.past for segment in segments if segment.past is not None]
    return torch.stack(pasts, 3) if pasts else None
