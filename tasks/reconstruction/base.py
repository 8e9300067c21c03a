r"""The reconstruction problem, and the base class of the methods that solve it.

The unknown *x* (Z, Y, X) is attenuation relative to water, :math:`1 + \mathrm{HU} / 1000`:

.. math::
    F(x) = \frac{1}{2 L} \| A x - p \|_W^2 + \lambda R(x), \qquad x \ge 0

with the projector *A* times the attenuation of water, the line integrals *p*, statistical weights
*W* and :math:`L = \|A^\top W A\|`. Division by *L* makes the strength :math:`\lambda` independent
of the number of views and of the size of the image: at the frequencies that are measured best, the
data term is :math:`|x - \hat x|^2 / 2`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from synthct.data.tomography.projector import Projector
from synthct.tasks.regularization.base import Regularizer

Memory = dict[str, Tensor]
"""State of a method between two iterations; ``image`` is the current result (Z, Y, X)."""

POWER_ITERATIONS = 12


@dataclass(eq=False)
class Problem:
    """Measurements, weights and prior of one reconstruction.

    Parameters
    ----------
    projector
        The map from attenuation [1/mm] to line integrals.
    lines
        Measured line integrals (views, V, U) [1].
    water_per_mm
        Attenuation of water [1/mm].
    weights
        Inverse variances of ``lines``, up to a factor (views, V, U); all 1 if left out.
    prior, strength
        Regularizer with an image prior, and its factor.
    counts, open_beam
        Detected quanta (views, V, U) and those of the open beam, for methods with a Poisson
        likelihood.
    """

    projector: Projector
    lines: Tensor
    water_per_mm: float
    weights: Tensor | None = None
    prior: Regularizer = field(default_factory=Regularizer)
    strength: float = 0.0
    counts: Tensor | None = None
    open_beam: float = 0.0

    def forward(self, image: Tensor) -> Tensor:
        """Line integrals of an image."""
        return self.projector.forward(image) * self.water_per_mm

    def transpose(self, residual: Tensor) -> Tensor:
        """The transpose of :meth:`forward`."""
        return self.projector.transpose(residual) * self.water_per_mm

    def weighted(self, residual: Tensor) -> Tensor:
        """Residuals times their statistical weights."""
        return residual if self.weights is None else residual * self.weights

    @cached_property
    def lipschitz(self) -> float:
        r"""Largest eigenvalue of :math:`A^\top W A`, by power iteration, rounded up by 2 %."""
        rng = torch.Generator().manual_seed(0)
        image = torch.rand(self.projector.volume_shape, generator=rng).to(self.lines)
        norm = 1.0
        for _ in range(POWER_ITERATIONS):
            image = self.transpose(self.weighted(self.forward(image / image.norm())))
            norm = float(image.norm())
        return 1.02 * norm

    def gradient(self, image: Tensor) -> Tensor:
        r""":math:`A^\top W (A x - p) / L`."""
        residual = self.forward(image) - self.lines
        return self.transpose(self.weighted(residual)) / self.lipschitz

    def data_term(self, image: Tensor) -> float:
        """The first part of the objective."""
        residual = self.forward(image) - self.lines
        return float((self.weighted(residual) * residual).sum(dtype=torch.float64)) / (
            2 * self.lipschitz
        )

    def prior_term(self, image: Tensor) -> float:
        """The second part of the objective."""
        if self.strength == 0:
            return 0.0
        return self.strength * float(self.prior.image(image[None, None], self.spacing_mm))

    def prox(self, image: Tensor, step: float) -> Tensor:
        """Proximal map of ``step`` times the prior's part, then negative values set to 0."""
        if self.strength != 0:
            factor = step * self.strength
            image = self.prior.prox(image[None, None], self.spacing_mm, factor)[0, 0]
        return image.clamp_min(0)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) [mm]."""
        return self.projector.grid.spacing_mm


class Method:
    """Base class of the algorithms: frozen dataclasses whose fields are parameters."""

    uses_prior: bool = True
    """Whether the method uses the prior."""

    def begin(self, problem: Problem, image: Tensor) -> Memory:
        """State before the first iteration, from a first image (Z, Y, X)."""
        return {"image": image.clamp_min(0)}

    def advance(self, problem: Problem, memory: Memory) -> None:
        """Run one iteration, which updates ``memory``."""
        raise NotImplementedError
