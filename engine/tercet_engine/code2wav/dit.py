"""Codes to mel: the reference's DiT, block by block, for the windows of many turns at once.

`stage` calls `BlockDit.decode` once a step. Over a whole sequence the result equals transformers'
`Qwen2_5OmniToken2WavDiTModel.sample`; its cost grows linearly with the length, and a window can go on
from the one before it through the look-back keys and values that are kept for every evaluation.
Knows neither turns nor time; `windows` says what to decode.

Shapes: c = 2 (conditioned, unconditioned); rows = blocks of all windows; width = frames in a row, at most 24.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final

import torch
from tercet_wire.settings import Solver
from torch.nn import functional

from tercet_engine.code2wav.batch import Batch
from tercet_engine.code2wav.dit_layers import DitLayer, build_rotations, modulate, place_linear
from tercet_engine.code2wav.graphs import Program, Recorder
from tercet_engine.code2wav.modulation import Timeline, TimelineBuilder
from tercet_engine.code2wav.rows import Extent, Rows, build_rows
from tercet_engine.code2wav.schedule import integrate
from tercet_engine.code2wav.windows import BLOCK_FRAMES, FRAMES_PER_CODE
from tercet_engine.decoder.team import has_runtime

Evaluate = Callable[[int, torch.Tensor], torch.Tensor]
"""(number of the evaluation, (c, rows, width, hidden)) -> the same after all layers and the output norm."""

GUIDANCE: Final = 0.5
GPU_BUCKETS: Final = (1, 2, 4, 8, 16, 32)
"""Batches on a GPU are padded to one of these numbers of rows; a larger one is computed as it is."""
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
    """Owns its weights: `net` may be dropped once this is built, all but its time embeddings.

    `buckets`: batches are padded to one of these numbers of rows, so that each can be replayed as a graph;
    without any (as on a CPU) a batch is computed as it is. By default the device decides.
    """

    def __init__(
        self, net: Any, device: torch.device, dtype: torch.dtype, buckets: Sequence[int] | None = None
    ) -> None:
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
        if buckets is None:
            buckets = GPU_BUCKETS if device.type == "cuda" else ()
        self._buckets = buckets
        self._compiled = None
        self._layers: list[DitLayer] = []
        if device.type == "cpu" and dtype == torch.float32 and not buckets and has_runtime():
            from tercet_engine.code2wav.compiled_layers import CompiledLayers  # noqa: PLC0415 - compiles

            self._compiled = CompiledLayers(net.transformer_blocks, rotations, heads)
        else:
            self._layers = [
                DitLayer(block, rotations, heads, device, dtype) for block in net.transformer_blocks
            ]
        looking_back = sum(block.look_backward_block > 0 for block in net.transformer_blocks)
        self._past_shape = (looking_back, 2, BLOCK_FRAMES, 2, heads, config.head_dim)
        self._split_input(net)
        self._project_out = place_linear(net.proj_out.weight, net.proj_out.bias, device, dtype)
        self._timeline = lru_cache(maxsize=SCHEDULES_KEPT)(TimelineBuilder(net, device, dtype))
        self._speaker_encoder = net.input_embed.spk_encoder
        self._recorder = Recorder(device)
        self._memory: dict[int, torch.Tensor] = {}  # by number of evaluations
        self._recorded: dict[tuple[Solver, int], list[_Recorded]] = {}

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

    @torch.inference_mode()
    def prepare(self, solver: Solver, points: int) -> None:
        """Work out a schedule's modulations now, not in the first turn that asks for it, and record it.

        A schedule that was not prepared is computed without recorded programs.
        """
        timeline = self._timeline(solver, points)
        if not self._buckets:
            return
        evaluations = timeline.schedule.evaluations
        self._memory.setdefault(evaluations, self._open_memory(evaluations, self._buckets[-1]))
        past, kept = self._find_memory(evaluations, self._buckets[-1])
        self._recorded[solver, points] = [
            self._record(timeline, past[:count], kept[:count]) for count in self._buckets
        ]

    def _record(self, timeline: Timeline, past: torch.Tensor, kept: torch.Tensor) -> "_Recorded":
        """For as many rows as there are windows in `past` and `kept`, which the programs share."""
        count = len(past)
        rows = build_rows([], self.device, count)
        batch = Batch(
            rows=replace(rows, kept=torch.zeros(count, dtype=torch.long, device=self.device)),
            noise=torch.zeros(count, BLOCK_FRAMES, self.mel_dim, device=self.device),
            known=self._code_table.new_zeros(2, count, BLOCK_FRAMES, self._code_table.shape[1]),
            past=past,
            kept=kept,
        )
        return _Recorded(batch=batch, solve=self._recorder.record(partial(self._solve, timeline, batch)))

    @torch.inference_mode()
    def decode(self, segments: Sequence[Segment], solver: Solver, points: int) -> list[Decoded]:
        """Integrate all windows in step; each result is the same as if its window were alone."""
        timeline = self._timeline(solver, points)
        extents = [
            Extent(frames=len(s.noise), has_past=s.past is not None, final_blocks=s.final_blocks)
            for s in segments
        ]
        recorded = self._find_recorded(solver, points, sum(extent.blocks for extent in extents))
        rows = build_rows(extents, self.device, recorded.batch.rows.count if recorded else None)
        pasts = [segment.past for segment in segments if segment.past is not None]
        past, kept = self._find_memory(timeline.schedule.evaluations, len(segments))
        if pasts:
            torch.stack(pasts, out=past[: len(pasts)])
        batch = Batch(
            rows=rows,
            noise=rows.lay_out([segment.noise for segment in segments]).to(self.device),
            known=self._lay_out_known(segments, rows),
            past=past[: len(pasts)] if pasts else None,
            kept=kept[: len(rows.kept)],
        )
        if recorded is None:
            state = self._solve(timeline, batch)
        else:
            recorded.batch.fill(batch)
            state = recorded.solve()
        pasts_kept = iter(kept)
        return [
            Decoded(mel=mel, past=next(pasts_kept).clone() if segment.final_blocks else segment.past)
            for mel, segment in zip(rows.gather(state, extents), segments, strict=True)
        ]

    def _find_recorded(self, solver: Solver, points: int, blocks: int) -> "_Recorded | None":
        """The smallest that the blocks fit into."""
        for recorded in self._recorded.get((solver, points), ()):
            if recorded.batch.rows.count >= blocks:
                return recorded
        return None

    def _lay_out_known(self, segments: Sequence[Segment], rows: Rows) -> torch.Tensor:
        """What of the input projection stays the same in all evaluations: (c, rows, width, hidden)."""
        conditioned, unconditioned = [], []
        for segment in segments:
            ids = torch.tensor([code if 0 <= code < self._num_codes else 0 for code in segment.codes])
            embedded = self._code_table[ids.to(self.device)] + segment.voice.conditioned
            conditioned.append(embedded.repeat_interleave(FRAMES_PER_CODE, 0))
            unconditioned.append(segment.voice.unconditioned.expand(len(segment.noise), -1))
        return torch.stack([rows.lay_out(conditioned), rows.lay_out(unconditioned)])

    def _find_memory(self, evaluations: int, windows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`past` and `kept` of a batch: the same memory in every step, for new memory is slow on a CPU.

        Recorded programs lie in it, so that it stays where it is once there are any.
        """
        memory = self._memory.get(evaluations)
        if memory is None or len(memory) < 2 * windows:
            memory = self._open_memory(evaluations, windows)
            if not self._buckets:
                self._memory[evaluations] = memory
        past, kept = memory.chunk(2)
        return past, kept

    def _open_memory(self, evaluations: int, windows: int) -> torch.Tensor:
        shape = (2 * windows, evaluations, *self._past_shape)
        return torch.zeros(shape, device=self.device, dtype=self.dtype)

    def _solve(self, timeline: Timeline, batch: Batch) -> torch.Tensor:
        """The mel (rows, width, mel); fills `batch.kept`."""
        evaluate: Evaluate = partial(self._pass_layers, timeline, batch)
        if self._compiled is not None:
            evaluate = self._compiled.open(batch, timeline.table)
        return integrate(timeline.schedule, partial(self._velocity, evaluate, batch), batch.noise)

    def _velocity(
        self, evaluate: Evaluate, batch: Batch, evaluation: int, state: torch.Tensor
    ) -> torch.Tensor:
        """`state` (rows, width, mel), and so the result: both passes of the network, guided."""
        projected = functional.linear(state.to(self.dtype), self._project_noise)
        conditioned, unconditioned = evaluate(evaluation, projected + batch.known)
        # The projection is linear, so the guidance can come before it, at half the work.
        return self._project_out(torch.lerp(unconditioned, conditioned, 1 + GUIDANCE)).float()

    def _pass_layers(
        self, timeline: Timeline, batch: Batch, evaluation: int, hidden: torch.Tensor
    ) -> torch.Tensor:
        """(c, rows, width, hidden) -> the same, after the output norm."""
        lines = hidden.flatten(0, 1)
        pasts = iter(batch.iter_pasts(evaluation))
        for layer, modulation in zip(self._layers, timeline.layers[evaluation], strict=True):
            lines = layer(lines, modulation, batch.rows, next(pasts) if layer.looks_back else None)
        return modulate(lines, timeline.out[evaluation]).view(hidden.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """`solve` computes on `batch`, which is filled before."""

    batch: Batch
    solve: Program
