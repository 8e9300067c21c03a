"""Local linearity: the loss bends little along random lines around each input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import PeriodicPenalty, Step, per_sample


@REGULARIZERS.register("local_linearity")
@dataclass(frozen=True)
class LocalLinearity(PeriodicPenalty):
    r"""Squared departure of the loss from a straight line between two inputs near each sample.

    .. math:: \left\langle \Big(L(\alpha x_a + (1 - \alpha) x_b) - \alpha L(x_a)
              - (1 - \alpha) L(x_b)\Big)^2 \right\rangle

    with :math:`x_a, x_b` drawn uniformly from the cube of half width :math:`\epsilon` around the
    source *x* (B, C, [Z,] Y, X), :math:`\alpha` from [0, 1], and *L* the mean squared error over
    the body of one sample. For a quadratic *L* the departure is
    :math:`-\frac12 \alpha (1 - \alpha)\,(x_a - x_b)^\top H\,(x_a - x_b)` with the Hessian *H* in
    the input: its curvature is penalised without differentiating twice, by three more passes (one
    on average with ``every`` 3). The paper uses it to keep adversarial training from failing; an
    adaptation: here without attacks, and with a squared error for the cross-entropy.
    Unit: network units to the fourth power.

    For synthetic CT: the error grows steadily with noise and small changes of contrast, without
    cliffs that the training scans do not show.

    Acts at ``penalty``.

    Parameters
    ----------
    radius
        :math:`\epsilon` [units of the scaled source].
    every
        Act at each k-th step only, k times as strongly: k times less computation.

    References
    ----------
    Abad Rocamora, Liu, Chrysos, Olmos & Cevher, Efficient local linearity regularization to
    overcome catastrophic overfitting, ICLR 2024, arXiv:2401.11618.
    """

    radius: float = 0.1
    every: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.radius <= 0:
            raise ValueError(f"radius must be positive, got {self.radius}")

    def cost(self, step: Step) -> Tensor:
        """Mean over the samples; a scalar."""
        rng, source = step.rng, step.batch.source
        # The same for all samples: patches are drawn at random, and so are their lines.
        shape = source.shape[1:]
        a, b = (
            source + self.radius * (2 * torch.rand(shape, generator=rng) - 1).to(source)
            for _ in range(2)
        )
        share = torch.rand(1, generator=rng).to(source).expand(len(source))
        between = per_sample(share, source) * a + (1 - per_sample(share, source)) * b
        middle, first, second = (_losses(step, x) for x in (between, a, b))
        return (middle - share * first - (1 - share) * second).square().mean()


def _losses(step: Step, source: Tensor) -> Tensor:
    """Mean squared error over the body of each sample, (B,)."""
    mask = step.batch.mask
    predicted = step.forward(source).to(step.batch.target.dtype)
    error = (predicted - step.batch.target).square() * mask
    return error.flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1).clamp(min=1)
