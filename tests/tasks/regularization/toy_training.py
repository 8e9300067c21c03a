"""A small network trained on a teacher's answers with one regularizer, for tests of claims."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from synthct.tasks.models.contracts import Batch


def student(width: int = 12) -> nn.Module:
    """Two convolutions, in double precision."""
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1), nn.Tanh(), nn.Conv2d(width, 1, 3, padding=1)
    ).double()


def lesson(seed: int = 0, count: int = 6, hidden: int = 3) -> Batch:
    """What a teacher with few channels answers on noise."""
    torch.manual_seed(11)
    teacher = nn.Sequential(
        nn.Conv2d(2, hidden, 3, padding=1), nn.Tanh(), nn.Conv2d(hidden, 1, 3, padding=1)
    ).double()
    rng = torch.Generator().manual_seed(seed)
    source = torch.randn((count, 2, 12, 12), generator=rng, dtype=torch.float64)
    target = teacher(source).detach()
    return Batch(
        source, target, torch.ones_like(target), (3.0, 1.0, 1.0), ("thorax",) * count,
        ("a",) * count, ((0, 0, 0),) * count,
    )  # fmt: skip


def train(small, steps: int, rate: float = 0.01) -> nn.Module:
    """Train ``small.model`` on ``small.batch``; what may be released."""
    optimizer = torch.optim.Adam(small.model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for number in range(steps):
        step = replace(small.step(number, seed=number), total=steps)
        step = small.composition.perturb(step)
        evaluated = small.composition.evaluate(step)
        small.model.zero_grad()
        evaluated.value.backward()
        again = lambda step=step: small.composition.evaluate(step, again=True).value  # noqa: E731
        small.composition.gradient(replace(evaluated.step, objective=again))
        optimizer.step()
        schedule.step()
        small.composition.project(step)
    return small.composition.kept(small.model)


def error(model: nn.Module, batch: Batch) -> float:
    """Mean absolute error on a batch, over the mean size of the targets."""
    with torch.no_grad():
        off: Tensor = (model(batch.source) - batch.target).abs().mean()
    return float(off / batch.target.abs().mean())
