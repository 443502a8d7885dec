"""A training run: what each optimiser is given, and that a run goes on where it was."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from demo.muon import Muon
from demo.training import Recipe, train

WIDTH = 16


class Net(nn.Module):
    """A list of layers, as the real networks have, and what stands outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(WIDTH, WIDTH, 3, padding=1), nn.Linear(WIDTH, WIDTH)])
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, rows: Tensor) -> Tensor:
        mixed = self.layers[0](rows.T[None])[0].T
        answer: Tensor = self.head(self.layers[1](mixed))
        return answer


def learn(net: Net, folder: Path, recipe: Recipe) -> tuple[dict[str, Tensor], list[float]]:
    """To add up each row's numbers; the weights and the losses on the way."""
    generator = torch.Generator().manual_seed(1)
    losses = []

    def measure(_: float) -> dict[str, Tensor]:
        rows = torch.randn(64, WIDTH, generator=generator)
        loss = (net(rows)[:, 0] - rows.sum(1)).square().mean()
        losses.append(float(loss.detach()))
        return {"loss": loss}

    return train("net", net, folder, recipe, measure), losses


@pytest.mark.parametrize("matrix_rate", [None, 5e-3])
def test_it_learns_with_either_optimiser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matrix_rate: float | None
) -> None:
    """Muon's matrices are views of a convolution's kernel: what it changes, the network computes with."""
    ticks = itertools.count(0, 0.005)  # of a clock that does not know how busy the machine is
    monkeypatch.setattr("demo.training.time.monotonic", lambda: next(ticks))
    torch.manual_seed(1)
    net = Net()
    before = {name: value.clone() for name, value in net.named_parameters()}
    recipe = Recipe(seconds=2.0, rate=3e-3, matrix_rate=matrix_rate, warmup_steps=10)
    _, losses = learn(net, tmp_path, recipe)
    assert sum(losses[-10:]) < sum(losses[:10]) / 2
    assert all(not torch.equal(value, before[name]) for name, value in net.named_parameters())


def test_a_run_that_is_over_is_not_begun_again(tmp_path: Path) -> None:
    """It hands out the average that it had kept."""
    recipe = Recipe(seconds=0.2, rate=1e-3, matrix_rate=1e-3)
    first, losses = learn(Net(), tmp_path, recipe)
    again, none = learn(Net(), tmp_path, recipe)
    assert losses
    assert not none
    assert all(torch.equal(again[name], value) for name, value in first.items())


def test_each_step_follows_its_own_gradient(tmp_path: Path) -> None:
    """Not those before as well, which would go on growing in whatever is not set free between steps."""
    torch.manual_seed(1)
    net, rows, norms = Net(), torch.randn(8, WIDTH), []

    def measure(_: float) -> dict[str, Tensor]:
        norms.append([float(each.grad.norm()) for each in net.parameters() if each.grad is not None])
        return {"loss": net(rows).square().mean()}

    train("net", net, tmp_path, Recipe(seconds=0.2, rate=0.0, matrix_rate=0.0, decay=0.0, clip=1e9), measure)
    assert len(norms) > 3
    assert len(norms[1]) == len(list(net.parameters()))
    assert norms[-1] == pytest.approx(norms[1])


def test_muon_is_that_of_torch() -> None:
    """Which rounds its products to bfloat16."""
    torch.manual_seed(1)
    begun = [torch.randn(24, 16), torch.randn(24, 16), torch.randn(16, 40)]
    ours, theirs = ([nn.Parameter(each.clone()) for each in begun] for _ in range(2))
    optimizers = (
        Muon(ours, lr=0.01, decay=0.05, dtype=torch.float32),
        torch.optim.Muon(theirs, lr=0.01, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for mine, other, start in zip(ours, theirs, begun, strict=True):
        assert (mine - start).norm() > 0.05
        assert (mine - other).norm() < 0.02 * (mine - start).norm()
