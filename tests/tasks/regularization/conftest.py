from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Batch
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step
from synthct.tasks.training.compose import Composition, Member, Term

NEUTRALISE = "SYNTHCT_TEST_NEUTRALISE"
"""Set by the mutation test: every file tests a regularizer that does nothing."""

MOMENTS = ("begin", "perturb", "hidden", "target", "gradient", "project", "kept", "schedule")


@pytest.fixture(autouse=True)
def _neutralised(request, monkeypatch) -> None:
    name = request.path.stem.removeprefix("test_")
    if NEUTRALISE not in os.environ or name not in REGULARIZERS.names():
        return
    cls = REGULARIZERS.get(name)
    for moment in MOMENTS:
        monkeypatch.setattr(cls, moment, getattr(Regularizer, moment))
    monkeypatch.setattr(cls, "penalty", lambda self, step: step.batch.source.new_zeros(()))


@dataclass
class Problem:
    """A small network in float64, a batch, and the harness around one regularizer."""

    model: nn.Module
    batch: Batch
    composition: Composition

    @property
    def member(self) -> Member:
        return self.composition.members[0]

    def step(self, number: int = 0, batch: Batch | None = None, seed: int = 5) -> Step:
        return Step(
            batch=batch or self.batch,
            model=self.model,
            number=number,
            total=10,
            epoch=0,
            seed=seed,
            run=self.model,
            objective=lambda: torch.zeros(()),
            validation=lambda: self.batch,
        )

    def objective(self, step: Step | None = None) -> Tensor:
        return self.composition.evaluate(step or self.step()).value

    def one_step(self, number: int = 0) -> None:
        """Perturb, evaluate, backward, change the gradient."""
        step = self.composition.perturb(self.step(number))
        evaluated = self.composition.evaluate(step)
        self.model.zero_grad()
        evaluated.value.backward()
        again = lambda: self.composition.evaluate(step, again=True).value  # noqa: E731
        self.composition.gradient(replace(evaluated.step, objective=again))


def small_network() -> nn.Module:
    torch.manual_seed(1)
    layers = (nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.Conv2d(3, 1, 1))
    return nn.Sequential(*layers).double()


def small_batch(count: int = 2, side: int = 6) -> Batch:
    rng = torch.Generator().manual_seed(2)
    draw = lambda channels: torch.randn(  # noqa: E731
        (count, channels, side, side), generator=rng, dtype=torch.float64
    )
    source, target = draw(2), draw(1)
    return Batch(
        source, target, torch.ones_like(target), (3.0, 1.0, 1.0), ("thorax",) * count,
        ("a",) * count, ((0, 0, 0),) * count,
    )  # fmt: skip


@pytest.fixture
def problem() -> Callable[..., Problem]:
    """Make a problem around one regularizer."""

    def make(name: str, weight: float = 1.0, model: nn.Module | None = None, **options) -> Problem:
        member = Member(name, weight, REGULARIZERS.build(name, options))
        losses = [Term("l1", 1.0, LOSSES.build("l1", {}))]
        return Problem(
            model or small_network(),
            small_batch(),
            Composition(losses, [member], TargetScaling()),
        )

    return make
