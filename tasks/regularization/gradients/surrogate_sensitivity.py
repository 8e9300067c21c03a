"""Surrogate sensitivity: random changes of the weights should seldom change the output."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Periodic, Step
from synthct.tasks.regularization.gradients.displaced import (
    add_difference,
    gradient_at,
    gradient_of,
    with_gradient,
)

MEAN, SPREAD = "mean", "spread"


@REGULARIZERS.register("surrogate_sensitivity")
@dataclass(frozen=True)
class SurrogateSensitivity(Periodic):
    r"""Probability that noise on the weights changes the prediction by more than a threshold,

    .. math:: \max_{|m| \le M, \; 0 \le s \le M} \;
              P_{\gamma \sim \mathcal N(m, s^2)} \left[ A(\theta, \gamma) \ge \alpha \right], \qquad
              A(\theta, \gamma) = \left\langle |f_{\theta + \gamma} - f_\theta| \right\rangle,

    with the mean over the body, and the noise of each weight in units of the root mean square of
    its tensor. The worst mean *m* and spread *s* are found beside training: after each evaluation
    both move by ``rate`` times *M* up the slope of the probability (they start at 0 and *M*). One
    draw of the noise per step stands for the probability, with a logistic curve of width
    :math:`\alpha / 4` in place of the indicator, and

    .. math:: \nabla_\theta A = \nabla_\theta \langle \sigma f \rangle \big|_{\theta + \gamma}
              - \nabla_\theta \langle \sigma f \rangle \big|_{\theta}, \qquad
              \sigma = \operatorname{sign}(f_{\theta + \gamma} - f_\theta),

    is exact: two passes forward and backward, and one forward. Two adaptations: the paper's noise
    has one scale for all weights, and its output is one number. ``surrogate_sharpness`` is the
    change to first order along the steepest direction; here steps are finite and random, as those
    of rounding are. No unit.

    For synthetic CT: an 8-bit release, or one fine-tuned for another scanner, should give the same
    HU.

    Acts at ``gradient``.

    Parameters
    ----------
    reach
        *M*, the largest mean and spread of the noise [root mean square of the tensor].
    threshold
        :math:`\alpha`, mean change of the output that counts [network units].
    rate
        Share of *M* by which mean and spread move in a step.
    every
        Act at each k-th step only, k times as strongly: k times less computation.

    References
    ----------
    Dao, Le Nguyen, Truong & Hoang, Boosting Offline Optimizers with Surrogate Sensitivity, ICML
    2024, arXiv:2503.04181.
    """  # noqa: D400

    reach: float = 0.1
    threshold: float = 0.02
    rate: float = 0.05
    every: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("reach", "threshold", "rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def gradient(self, step: Step) -> None:
        """Add the slope of the probability to every ``grad``, then move the noise's law up it."""
        if not self.is_due(step):
            return
        parameters = with_gradient(step.model)
        rng, memory = step.rng, step.memory
        draws = [torch.randn(p.shape, generator=rng, dtype=torch.float64).to(p) for p in parameters]
        units = [p.detach().square().mean().sqrt() for p in parameters]
        mean = float(memory.get(MEAN, torch.zeros(())))
        spread = float(memory.get(SPREAD, torch.tensor(self.reach)))
        noise = [u * (mean + spread * d) for u, d in zip(units, draws, strict=True)]
        source, mask = step.batch.source, step.batch.mask
        body = mask.sum().clamp(min=1)
        with torch.no_grad():
            before = step.forward(source)
        found: list[Tensor] = []

        def changed() -> Tensor:
            change = step.forward(source) - before
            found.append(change.detach())
            return (change.abs() * mask).sum() / body

        there = gradient_at(changed, parameters, noise, 1.0)
        signs = found[0].sign() * mask
        here = gradient_of(lambda: (signs * step.forward(source)).sum() / body, parameters)
        change = float((found[0].abs() * mask).sum() / body)
        steepness = _logistic_slope(change, self.threshold)
        add_difference(parameters, here, there, step.strength * self.every * steepness)
        up_mean = sum(float((g * u).sum()) for g, u in zip(there, units, strict=True))
        up_spread = sum(
            float((g * u * d).sum()) for g, u, d in zip(there, units, draws, strict=True)
        )
        pace = self.rate * self.reach
        moved = mean + math.copysign(pace, up_mean) if up_mean else mean
        memory[MEAN] = torch.tensor(min(max(moved, -self.reach), self.reach), dtype=torch.float64)
        moved = spread + math.copysign(pace, up_spread) if up_spread else spread
        memory[SPREAD] = torch.tensor(min(max(moved, 0.0), self.reach), dtype=torch.float64)


def _logistic_slope(change: float, threshold: float) -> float:
    """Derivative of ``1 / (1 + exp(-4 (change - threshold) / threshold))`` [1 / network units]."""
    passed = 1 / (1 + math.exp(-min(4 * (change - threshold) / threshold, 500.0)))
    return 4 / threshold * passed * (1 - passed)
