"""BigVGAN's anti-aliased activation on a CPU, compiled: a stretch of a channel at a time, in its cache.

Used by `anti_alias`. Samples between the given ones are computed apart from those that stand at them, so that
every filter is a sum of neighbours, for many samples at once. Threads share the channels.
"""

import ctypes
from typing import Final

import numba
import numpy as np
import torch
from numba import types

from tercet_engine.decoder.compiled_team import compile_call, count_threads, get_thread, point
from tercet_engine.decoder.jit import inline
from tercet_engine.decoder.team import Call, Program

_STRETCH: Final = 1024
"""Samples that are made at a time: what lies between the filters stays in the nearest cache."""
_REACH: Final = 3
"""How far either filter looks at each side, in samples of the lower rate."""

_f = np.float32
_float: Final = types.float32


class Job(ctypes.Structure):
    """Rows of `samples`, those of a channel after the ones of the channel before. Addresses.

    `padding`: zeros before and behind each row of the target. `taps`: twelve of the doubling filter, then
    twelve of the halving one. `scale`, `bend`: of each channel.
    """

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("signal", "samples", "channels", "scale", "bend", "taps", "target", "padding")
    )


@numba.njit(fastmath={"contract"}, forceinline=True)
def _square_of_sine(x):
    """Off by 2e-7 at most, up to thousands; as it repeats after half a turn, quarters of turns are enough.

    Half turns are taken off in three parts (Cody and Waite, Software Manual for the Elementary Functions).
    """
    size = abs(x)
    half_turns = _f(types.int32(size * _f(0.31830988618) + _f(0.5)))
    rest = size - half_turns * _f(3.140625) - half_turns * _f(9.67502593994140625e-4)
    rest -= half_turns * _f(1.509957990978376432e-7)
    square = rest * rest
    series = _f(-1 / 39916800)
    series = series * square + _f(1 / 362880)
    series = series * square - _f(1 / 5040)
    series = series * square + _f(1 / 120)
    series = series * square - _f(1 / 6)
    series = series * square + _f(1)
    sine = rest * series
    return sine * sine


@inline
def _filter(samples, first, taps, at, count, result):
    """For each of `count`, six neighbours from `first` on, by every second tap; added to the result."""
    t0, t1, t2 = taps[at], taps[at + 2], taps[at + 4]
    t3, t4, t5 = taps[at + 6], taps[at + 8], taps[at + 10]
    for i in range(count):
        k = first + i
        total = samples[k] * t0 + samples[k + 1] * t1 + samples[k + 2] * t2
        result[i] += total + samples[k + 3] * t3 + samples[k + 4] * t4 + samples[k + 5] * t5


@inline
def _double(near, taps, at, first, count, bend, result):
    """Samples at, or between, those of the lower rate, bent: `x + bend * sin(x)^2`."""
    for i in range(count):
        result[i] = _f(0)
    _filter(near, first, taps, at, count, result)
    for i in range(count):
        result[i] += bend * _square_of_sine(result[i])


@inline
def _repeat_ends(evens, odds, start, samples, count):
    """Beyond its ends the doubled signal stays what it is there; `start` is the sample of the first one."""
    for i in range(min(count, -start)):
        evens[i] = odds[i] = evens[-start]
    for i in range(max(0, samples - start), count):
        evens[i] = odds[i] = odds[samples - start - 1]


@compile_call(Job)
def activate(told, rows):
    job = numba.carray(told, 1)[0]
    samples, padding = job.samples, job.padding
    scales = numba.carray(point(job.scale, _float), job.channels)
    bends = numba.carray(point(job.bend, _float), job.channels)
    up = numba.carray(point(job.taps, _float), 12)
    down = numba.carray(point(job.taps + 4 * 12, _float), 12)
    near = np.empty(_STRETCH + 4 * _REACH, np.float32)
    evens = np.empty(_STRETCH + 2 * _REACH, np.float32)
    odds = np.empty(_STRETCH + 2 * _REACH, np.float32)
    for i in range(get_thread(), rows, count_threads()):
        signal = numba.carray(point(job.signal + 4 * i * samples, _float), samples)
        width = samples + 2 * padding
        target = numba.carray(point(job.target + 4 * i * width, _float), width)
        for j in range(padding):
            target[j] = target[padding + samples + j] = _f(0)
        scale, bend = scales[i % job.channels], bends[i % job.channels]
        for start in range(0, samples, _STRETCH):
            made = min(_STRETCH, samples - start)
            count = made + 2 * _REACH
            for j in range(made + 4 * _REACH):
                near[j] = scale * signal[min(max(start - 2 * _REACH + j, 0), samples - 1)]
            _double(near, up, 0, 0, count, bend, evens)
            _double(near, up, 1, 1, count, bend, odds)
            _repeat_ends(evens, odds, start - _REACH, samples, count)
            result = target[padding + start : padding + start + made]
            for j in range(made):
                result[j] = _f(0)
            _filter(evens, 1, down, 1, made, result)
            _filter(odds, 0, down, 0, made, result)


class CompiledActivation:
    """(batch, channels, samples) -> (batch, channels, padding and samples and padding)."""

    def __init__(self, up: torch.Tensor, down: torch.Tensor, scale: torch.Tensor, bend: torch.Tensor) -> None:
        """`up`, `down` (12,): the taps; `scale`, `bend` (channels,)."""
        self._taps = torch.cat([2 * up.flip(0), down]).float()
        self._scale, self._bend = scale.float().contiguous(), bend.float().contiguous()

    def __call__(self, signal: torch.Tensor, padding: int) -> torch.Tensor:
        signal = signal.float().contiguous()
        batch, channels, samples = signal.shape
        if channels != len(self._scale):
            raise ValueError(f"the activation is one of {len(self._scale)} channels, not of {channels}")
        target = signal.new_empty(batch, channels, samples + 2 * padding)
        job = Job(
            signal=signal.data_ptr(),
            samples=samples,
            channels=channels,
            scale=self._scale.data_ptr(),
            bend=self._bend.data_ptr(),
            taps=self._taps.data_ptr(),
            target=target.data_ptr(),
            padding=padding,
        )
        Program([Call(activate.address, job)]).run(batch * channels)
        return target
