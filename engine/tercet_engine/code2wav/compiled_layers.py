"""All layers of the DiT on a CPU as one program that torch's threads run.

Used by `dit` in place of hundreds of operations of torch for each evaluation. A batch's lines lie where those
of the batch before lay, so the program is written once, and again only for more lines than ever before.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, Final

import torch

from tercet_engine.code2wav import compiled_block_attention, compiled_dit
from tercet_engine.code2wav.batch import Batch
from tercet_engine.code2wav.dit_layers import join_qkv
from tercet_engine.code2wav.windows import BLOCK_FRAMES
from tercet_engine.decoder.compiled_product import FloatProduct
from tercet_engine.decoder.team import Call, Program

_KEPT_BLOCKS: Final = 128
"""Whose memory stays: a batch of more, which is a long speech decoded as a whole, gets its own."""


class CompiledLayers:
    """Single precision. `blocks` are transformers' DiTDecoderLayers, `rotations` of `build_rotations`."""

    def __init__(self, blocks: Sequence[Any], rotations: torch.Tensor, heads: int) -> None:
        self._layers = [_Layer(block) for block in blocks]
        self._rotations = torch.view_as_real(rotations).flatten(1).contiguous()
        self._heads = heads
        self._kept = self._write(1)

    def open(self, batch: Batch, table: torch.Tensor) -> "Evaluations":
        """`table` of the batch's `Timeline`."""
        script = self._kept
        if batch.rows.lines > script.room:
            script = self._write(batch.rows.count)
            if batch.rows.count <= _KEPT_BLOCKS:
                self._kept = script
        return Evaluations(script, batch, table)

    def _write(self, blocks: int) -> "_Script":
        return _Script(self._layers, self._rotations, self._heads, 2 * blocks * BLOCK_FRAMES)


class Evaluations:
    """Of one batch, whose `kept` they fill. There are none of another before these have ended."""

    def __init__(self, script: "_Script", batch: Batch, table: torch.Tensor) -> None:
        rows, scene = batch.rows, script.scene
        self._script, self._batch, self._table = script, batch, table
        scene.count, scene.width, scene.reach = rows.count, rows.width, rows.reach.data_ptr()
        scene.known = 0 if batch.past is None else batch.past.data_ptr()
        scene.kept, scene.evaluations = batch.kept.data_ptr(), batch.kept.shape[1]

    def __call__(self, evaluation: int, hidden: torch.Tensor) -> torch.Tensor:
        """(c, rows, width, hidden) -> the same after the output norm; it holds until the next call."""
        script, lines = self._script, self._batch.rows.lines
        script.hidden[:lines] = hidden.flatten(0, 2)
        script.scene.modulation, script.scene.evaluation = self._table[evaluation].data_ptr(), evaluation
        script.program.run(lines)
        normed: torch.Tensor = script.normed[:lines].view(hidden.shape)
        return normed


class _Layer:
    def __init__(self, block: Any) -> None:
        attention, mlp = block.attn, block.ff.ff
        self.qkv = FloatProduct(*join_qkv(attention))
        self.out, self.up, self.down = (
            FloatProduct(linear.weight.detach(), linear.bias.detach())
            for linear in (attention.to_out[0], mlp[0], mlp[3])
        )
        self.looks_back = block.look_backward_block > 0
        self.looks_ahead = block.look_ahead_block > 0


class _Script:
    """The calls of an evaluation, and the memory through which they pass things on."""

    def __init__(self, layers: Sequence[_Layer], rotations: torch.Tensor, heads: int, room: int) -> None:
        """`room`: lines, the frames of all rows in both passes."""
        width = layers[0].qkv.inputs
        self.room = room
        self.scene = compiled_dit.Scene()
        self.hidden, self.normed = torch.zeros(2, room, width)
        self._rotations, self._heads = rotations, heads
        inner = layers[0].out.inputs  # of all heads, which need not be as wide as a line
        self._mixed = torch.zeros(room, inner)
        self._memory: dict[str, torch.Tensor] = {}
        self._attention = compiled_block_attention.compile_block_attention(inner // heads).address
        self._backs = sum(layer.looks_back for layer in layers)
        self._calls: list[Call] = []
        more, back = None, 0
        for number, layer in enumerate(layers):
            self._add_norm(more, 6 * number)
            more = self._attend(layer, back if layer.looks_back else -1)
            back += layer.looks_back
            self._add_norm(more, 6 * number + 3)
            more = self._add_mlp(layer)
        self._add_norm(more, 6 * len(layers))
        self.program: Final = Program(self._calls)

    def _add_norm(self, more: torch.Tensor | None, scale: int) -> None:
        """Of the lines, to which the gated product before it is added; its gate stands before the scale."""
        job = compiled_dit.Norm(
            scene=ctypes.addressof(self.scene),
            lines=self.hidden.data_ptr(),
            more=0 if more is None else more.data_ptr(),
            step=0 if more is None else more.stride(0),
            gate=max(0, scale - 1),
            scale=scale,
            normed=self.normed.data_ptr(),
            width=self.hidden.shape[1],
        )
        self._calls.append(Call(compiled_dit.norm.address, job))

    def _attend(self, layer: _Layer, back: int) -> torch.Tensor:
        fused = self._multiply("qkv", layer.qkv, self.normed)
        job = compiled_block_attention.Job(
            scene=ctypes.addressof(self.scene),
            fused=fused.data_ptr(),
            step=fused.stride(0),
            mixed=self._mixed.data_ptr(),
            heads=self._heads,
            rotations=self._rotations.data_ptr(),
            back=back,
            backs=self._backs,
            ahead=layer.looks_ahead,
        )
        self._calls.append(Call(self._attention, job))
        return self._multiply("out", layer.out, self._mixed)

    def _add_mlp(self, layer: _Layer) -> torch.Tensor:
        inner = self._multiply("up", layer.up, self.normed)
        job = compiled_dit.Gelu(lines=inner.data_ptr(), step=inner.stride(0), width=layer.up.outputs)
        self._calls.append(Call(compiled_dit.gelu.address, job))
        return self._multiply("down", layer.down, inner)

    def _multiply(self, name: str, product: FloatProduct, source: torch.Tensor) -> torch.Tensor:
        """Into memory that the layers share, one after the other."""
        if name not in self._memory:
            self._memory[name] = torch.zeros(self.room, product.width)
        self._calls += product.plan(source, self._memory[name])
        return self._memory[name]
