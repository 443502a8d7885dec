"""The vocoder's convolutions on a CPU, compiled: some channels of a stretch of samples at a time.

Used by `residual`. Samples of a channel lie one after the other, so what a tap multiplies is a stretch of the
input where it lies: nothing is rearranged, and sums stay in registers. Threads share the stretches.
"""

import ctypes
from functools import cache
from typing import Any, Final

import numba
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch.nn import functional

from tercet_engine.decoder.compiled_team import compile_call, count_threads, get_thread
from tercet_engine.decoder.compiled_vectors import LANES, Emitter, number
from tercet_engine.decoder.team import Call, Program

_VECTORS: Final = {8: 3, 4: 5, 1: 8} if LANES == 16 else {4: 2, 1: 6}
"""For so many channels at a time, so many vectors of samples: their sums fill the registers."""

_part: Final = ir.VectorType(number, LANES)


class Job(ctypes.Structure):
    """Of each of a batch, (channels, width) -> (outs, samples). Addresses.

    `weights`: (groups, channels, taps, outs of a group). `dilation`: samples from a tap to the next.
    """

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in (
            *("source", "width", "channels", "weights", "taps", "dilation", "bias"),
            *("target", "samples", "outs"),
        )
    )


@intrinsic(prefer_literal=True)
def _convolve_stretch(
    _context,
    source,
    channel_bytes,
    channels,
    weights,
    tap_bytes,
    taps,
    apart,
    bias,
    target,
    out_bytes,
    outs,
    many,
):
    """Some output channels of so `many` vectors of samples. Addresses, and bytes from one to the next."""
    outs, many = outs.literal_value, many.literal_value

    def generate(context, builder, _signature, arguments):
        source, channel_bytes, channels, weights, tap_bytes, taps, apart, bias, target, out_bytes, _, _ = (
            arguments
        )
        emit = Emitter(builder)
        start = [emit.spread(emit.load(emit.at(bias, out, 4), number), LANES) for out in range(outs)]
        sums = [[cgutils.alloca_once_value(builder, each) for _ in range(many)] for each in start]
        with cgutils.for_range(builder, channels) as channel:
            signal = emit.at(source, channel.index, channel_bytes)
            factors = emit.at(weights, channel.index, builder.mul(taps, tap_bytes))
            with cgutils.for_range(builder, taps) as tap:
                here, factor = emit.at(signal, tap.index, apart), emit.at(factors, tap.index, tap_bytes)
                samples = [emit.load(emit.at(here, i, 4 * LANES), _part) for i in range(many)]
                for out, row in enumerate(sums):
                    entry = emit.spread(emit.load(emit.at(factor, out, 4), number), LANES)
                    for some, total in zip(samples, row, strict=True):
                        builder.store(emit.multiply_add(entry, some, builder.load(total)), total)
        for out, row in enumerate(sums):
            for i, total in enumerate(row):
                emit.store(builder.load(total), emit.at(emit.at(target, out, out_bytes), i, 4 * LANES))
        return context.get_dummy_value()

    i = types.int64
    return types.void(*[i] * 10, types.literal(outs), types.literal(many)), generate


@cache
def compile_convolution(at_once: int) -> Any:
    """A function for `team.Program` and a `Job` that has a multiple of `at_once` outputs, for a batch."""
    many = _VECTORS[at_once]
    stretch = many * LANES

    @compile_call(Job, at_once, many)
    def convolve(told, rows):
        job = numba.carray(told, 1)[0]
        stretches = -(-job.samples // stretch)
        for task in range(get_thread(), rows * stretches, count_threads()):
            row = task // stretches
            first = min(task % stretches * stretch, job.samples - stretch)  # the last may begin in another
            for out in range(0, job.outs, at_once):
                _convolve_stretch(
                    job.source + 4 * (row * job.channels * job.width + first),
                    4 * job.width,
                    job.channels,
                    job.weights + 4 * out * job.channels * job.taps,
                    4 * at_once,
                    job.taps,
                    4 * job.dilation,
                    job.bias + 4 * out,
                    job.target + 4 * ((row * job.outs + out) * job.samples + first),
                    4 * job.samples,
                    at_once,
                    many,
                )

    return convolve


class CompiledConvolution:
    """(batch, channels, samples and padding) -> (batch, outs, samples), as many as have all taps."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dilation: int) -> None:
        """`weight` as of a Conv1d."""
        outs, self._channels, self._taps = weight.shape
        at_once = next(count for count in _VECTORS if outs % count == 0)
        self._convolve = compile_convolution(at_once)
        self._least = _VECTORS[at_once] * LANES
        self._dilation = dilation
        self._packed = _pack(weight.float(), at_once)
        self._bias = torch.zeros(outs) if bias is None else bias.float().contiguous()

    def __call__(self, signal: torch.Tensor) -> torch.Tensor:
        signal = signal.float()
        batch, channels, width = signal.shape
        samples = width - (self._taps - 1) * self._dilation
        if channels != self._channels:
            raise ValueError(f"the convolution is one of {self._channels} channels, not of {channels}")
        if samples < self._least:
            return functional.conv1d(signal, _unpack(self._packed), self._bias, dilation=self._dilation)
        signal = signal.contiguous()
        target = signal.new_empty(batch, len(self._bias), samples)
        job = Job(
            source=signal.data_ptr(),
            width=width,
            channels=channels,
            weights=self._packed.data_ptr(),
            taps=self._taps,
            dilation=self._dilation,
            bias=self._bias.data_ptr(),
            target=target.data_ptr(),
            samples=samples,
            outs=len(self._bias),
        )
        Program([Call(self._convolve.address, job)]).run(batch)
        return target


def _pack(weight: torch.Tensor, at_once: int) -> torch.Tensor:
    """(outs, channels, taps) -> (groups, channels, taps, outs of a group): in the order they are read in."""
    return weight.reshape(-1, at_once, *weight.shape[1:]).permute(0, 2, 3, 1).contiguous()


def _unpack(packed: torch.Tensor) -> torch.Tensor:
    return packed.permute(0, 3, 1, 2).flatten(0, 1)
