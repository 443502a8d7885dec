"""A training run that is given a length of time, shows its progress and can be interrupted.

The learning rate follows the time spent, so the same recipe fits a fast machine and a slow one. What is
kept of the network is an average over its last steps. A run that finds its own unfinished state goes on
from there.
"""

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from demo.muon import Muon
from demo.saving import save_whole

_SAVE_EVERY_S: Final = 60.0
_REPORT_EVERY_S: Final = 10.0
_AVERAGED_SHARE: Final = 0.05
"""Of the steps so far: over so many the average reaches back. A longer one lags behind a short training."""
_AVERAGE_EVERY: Final = 4
_FINAL_RATE: Final = 0.02
"""Of the highest learning rate, at the end."""

_IN_LAYERS: Final = re.compile(r"s\.\d+\.")
"""In the name of what belongs to a list of layers, as `layers.0.self_attn`, `blocks.1.mlp` and `ups.2.0`."""
_LEAST_OF_MATRIX: Final = 16
"""Rows and columns; what is smaller is little more than a few vectors."""
_WORTHWHILE: Final = 0.8
"""Of a product's time in 32 bits: what 16 may take, for what is not a product gains nothing."""
_TRIALS: Final = 10

Losses = Mapping[str, Tensor]
"""The entry `loss` is minimised, the others are only shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    seconds: float
    rate: float
    warmup_steps: int = 200
    betas: tuple[float, float] = (0.9, 0.98)
    decay: float = 0.01
    clip: float = 1.0
    matrix_rate: float | None = None
    """Where it is given, the matrices of hidden layers follow Muon (Jordan et al. 2024) at this rate; a
    convolution's kernel is one, of a row for each first channel.
    """


def in_16_bits(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 where the device multiplies it faster."""
    return torch.autocast(device.type, torch.bfloat16, _has_fast_16_bits(device))


@cache
def _has_fast_16_bits(device: torch.device) -> bool:
    """Not every CPU that can multiply them gains by it: one was seen to lose a third."""
    if device.type == "cuda":
        return True
    if not torch.cpu.get_capabilities().get("avx512_bf16", False):
        return False
    return _time_product(torch.bfloat16) < _WORTHWHILE * _time_product(torch.float32)


def _time_product(dtype: torch.dtype) -> float:
    """Seconds, the least of some."""
    some = torch.randn(1024, 1024).to(dtype)
    taken = []
    for _ in range(_TRIALS):
        began = time.perf_counter()
        some @ some
        taken.append(time.perf_counter() - began)
    return min(taken)


def train(
    name: str, net: nn.Module, folder: Path, recipe: Recipe, measure: Callable[[float], Losses]
) -> dict[str, Tensor]:
    """Minimise `measure(progress)` over `net`, progress going from 0 to 1; returns the averaged weights."""
    run = _Run(name, net, folder, recipe)
    for progress in run.steps():
        losses = measure(progress)
        run.learn(losses["loss"])
        run.note(losses)
    run.save()
    return run.average


class _Run:
    def __init__(self, name: str, net: nn.Module, folder: Path, recipe: Recipe) -> None:
        self._name, self._net, self._recipe = name, net, recipe
        self._path = folder / f"{name}.state.pt"
        self._parameters = [each for each in net.parameters() if each.requires_grad]
        self._matrices = _find_matrices(net) if recipe.matrix_rate is not None else []
        self._optimizers = _choose_optimizers(self._parameters, self._matrices, recipe)
        self.average = {key: value.clone() for key, value in net.state_dict().items()}
        self._step, self._spent_s = 0, 0.0
        self._notes: dict[str, list[Tensor]] = defaultdict(list)
        if self._path.exists():
            self._restore()

    def steps(self) -> Iterator[float]:
        started = time.monotonic() - self._spent_s
        saved = reported = time.monotonic()
        while self._spent_s < self._recipe.seconds:
            progress = self._spent_s / self._recipe.seconds
            self._set_rate(progress)
            yield progress
            now = time.monotonic()
            self._step += 1
            self._spent_s = now - started
            if now - reported > _REPORT_EVERY_S:
                self._report()
                reported = now
            if now - saved > _SAVE_EVERY_S:
                self.save()
                saved = now
        self._report()

    def learn(self, loss: Tensor) -> None:
        self._net.zero_grad(set_to_none=True)  # an optimiser would not do it for what it has a view of
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, self._recipe.clip)
        for matrix in self._matrices:
            matrix.view.grad = matrix.parameter.grad.flatten(1) if matrix.parameter.grad is not None else None
        for optimizer in self._optimizers:
            optimizer.step()
        if self._step % _AVERAGE_EVERY == 0:
            self._take_average()

    def note(self, losses: Losses) -> None:
        for key, value in losses.items():
            self._notes[key].append(value.detach())

    def save(self) -> None:
        state: dict[str, Any] = {
            "net": self._net.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "step": self._step,
            "spent_s": self._spent_s,
        }
        save_whole(state, self._path)

    def _restore(self) -> None:
        state = torch.load(self._path, weights_only=True)
        if len(state["optimizers"]) != len(self._optimizers):
            raise ValueError(f"{self._path} is of another recipe; remove it to begin anew")
        self._net.load_state_dict(state["net"])
        for optimizer, held in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        self.average = {key: value.to(self.average[key].device) for key, value in state["average"].items()}
        self._step, self._spent_s = state["step"], state["spent_s"]

    def _set_rate(self, progress: float) -> None:
        falling = _FINAL_RATE + (1 - _FINAL_RATE) * (1 + math.cos(math.pi * progress)) / 2
        rising = min(1.0, (self._step + 1) / self._recipe.warmup_steps)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * falling * rising

    @torch.no_grad()
    def _take_average(self) -> None:
        share = _AVERAGE_EVERY / (_AVERAGE_EVERY + _AVERAGED_SHARE * self._step)
        current = self._net.state_dict()
        floating = [key for key, value in current.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.average[key] for key in floating], [current[key] for key in floating], share
        )

    def _report(self) -> None:
        means = {key: float(torch.stack(values).float().mean()) for key, values in self._notes.items()}
        self._notes.clear()
        shown = "  ".join(f"{key} {value:.4f}" for key, value in means.items())
        share = self._spent_s / self._recipe.seconds
        print(f"{self._name}: {share:4.0%}  step {self._step}  {self._spent_s:.0f} s  {shown}", flush=True)


@dataclass(frozen=True, slots=True)
class _Matrix:
    parameter: nn.Parameter
    view: nn.Parameter
    """The same numbers in two dimensions, as Muon wants them."""


def _find_matrices(net: nn.Module) -> list[_Matrix]:
    found = []
    for name, each in net.named_parameters():
        if not each.requires_grad or each.ndim < 2 or not _IN_LAYERS.search(name):
            continue
        view = nn.Parameter(each.detach().flatten(1))
        if min(view.shape) >= _LEAST_OF_MATRIX:
            found.append(_Matrix(each, view))
    return found


def _choose_optimizers(
    parameters: list[nn.Parameter], matrices: list[_Matrix], recipe: Recipe
) -> list[torch.optim.Optimizer]:
    held = {id(matrix.parameter) for matrix in matrices}
    others = [each for each in parameters if id(each) not in held]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=recipe.rate, betas=recipe.betas, weight_decay=recipe.decay, fused=True)
    ]
    if recipe.matrix_rate is not None:
        views = [matrix.view for matrix in matrices]
        dtype = torch.bfloat16 if _has_fast_16_bits(views[0].device) else torch.float32
        optimizers.append(Muon(views, lr=recipe.matrix_rate, decay=recipe.decay, dtype=dtype))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers
