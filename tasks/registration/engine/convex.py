"""Discrete initialisation for large motion: exhaustive search per voxel, then regularised."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.fields.derivatives import Spacing
from synthct.tasks.registration.contracts import Level
from synthct.tasks.registration.engine.pyramid import levels, refined
from synthct.tasks.registration.sampler import Sampler

COUPLINGS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Weights of the squared distance to the smoothed field, relative to the costs' spread [1]."""

ROUNDS = 15
"""Number of iterations that make the forward and backward displacements inverse consistent."""


@dataclass(frozen=True)
class ConvexStart:
    r"""Coupled convex optimisation of :math:`\sum_x C(x, d(x))` over a lattice of displacements.

    The cost of every displacement in a cubic search range is tabulated for every voxel of a coarse
    level; then, with increasing coupling, choosing the best displacement near a smoothed field
    alternates with smoothing that field. Run in both directions and made inverse consistent.

    Parameters
    ----------
    reach
        Search range in each direction [voxels of the level]; (2 reach + 1)^3 displacements.
    voxels
        Maximum number of voxels of the level: bounds memory and time for any scan size.

    References
    ----------
    Heinrich, Papiez, Schnabel & Handels, Non-parametric discrete registration with convex
    optimisation, WBIR 2014, 51-61; Siebert, Hansen & Heinrich, ConvexAdam, IEEE Trans. Med.
    Imaging 44 (2025) 738-748.
    """

    reach: int = 4
    voxels: int = 80_000

    def __post_init__(self) -> None:
        if not 1 <= self.reach <= 8:
            raise ValueError(f"reach must be 1 to 8 [voxels of the level], got {self.reach}")
        if self.voxels < 512:
            raise ValueError(f"voxels must be at least 512, got {self.voxels}")

    def __call__(
        self, fixed: Tensor, moving: Tensor, weights: tuple[Tensor, Tensor], level: Level
    ) -> tuple[Tensor, Tensor]:
        """Forward and backward displacement (1, 3, Z, Y, X) [mm] from features (1, C, Z, Y, X).

        ``weights`` (1, 1, Z, Y, X) are the masks of the fixed and moving image.
        """
        sampler = Sampler.of(level, fixed)
        there = self._one_way(fixed, moving, weights[0], level)
        back = self._one_way(moving, fixed, weights[1], level)
        for _ in range(ROUNDS):
            there, back = (
                (there - sampler(back, there)) / 2,
                (back - sampler(there, back)) / 2,
            )
        return there, back

    def levels(self, shape: tuple[int, int, int], spacing_mm: Spacing) -> tuple[Level, Level]:
        """The level at which features are computed, and the coarser level of the search."""
        factor = 1.0
        while math.prod((level := levels(shape, spacing_mm, [factor])[0]).shape) > self.voxels:
            factor += 1
        return refined(level, spacing_mm, 2), level

    def _one_way(self, fixed: Tensor, moving: Tensor, weight: Tensor, level: Level) -> Tensor:
        steps = torch.tensor(list(self._steps()), dtype=fixed.dtype, device=fixed.device)
        costs = self._costs(fixed, moving, weight)
        spacing = torch.tensor(level.spacing_mm, dtype=fixed.dtype, device=fixed.device)
        # In units of the level's mean spacing, so that thick slices are not favoured.
        lattice = steps * spacing / spacing.mean()
        field = _smooth(_chosen(costs.argmin(dim=0), lattice, level))
        squares = lattice.square().sum(dim=1)
        for coupling in COUPLINGS:
            flat = field[0].flatten(1)
            # |d - u|^2 without |u|^2, which does not change the minimum.
            nearness = torch.addmm(squares[:, None], lattice, flat, alpha=-2)
            best = torch.add(costs, nearness, alpha=coupling).argmin(dim=0)
            field = _smooth(_chosen(best, lattice, level))
        return field * spacing.mean()

    def _steps(self) -> Iterator[tuple[int, int, int]]:
        around = range(-self.reach, self.reach + 1)
        return ((z, y, x) for z in around for y in around for x in around)

    def _costs(self, fixed: Tensor, moving: Tensor, weight: Tensor) -> Tensor:
        """Mean squared difference per displacement and voxel (steps, Z*Y*X), scaled to spread 1."""
        r, (d, h, w) = self.reach, fixed.shape[2:]
        padded = functional.pad(moving, [r] * 6, mode="replicate")
        rows = []
        for z, y, x in self._steps():
            there = padded[..., z + r : z + r + d, y + r : y + r + h, x + r : x + r + w]
            unlike = (fixed - there).square_().mean(dim=1, keepdim=True) * weight
            rows.append(functional.avg_pool3d(unlike, 3, 1, 1)[0, 0].flatten())
        costs = torch.stack(rows)
        spread = costs.std(dim=0).mean()
        return costs / spread.clamp(min=torch.finfo(costs.dtype).tiny)


def _chosen(best: Tensor, lattice: Tensor, level: Level) -> Tensor:
    return lattice[best].T.reshape(1, 3, *level.shape)


def _smooth(field: Tensor) -> Tensor:
    for _ in range(2):
        padded = functional.pad(field, [1] * 6, mode="replicate")
        field = functional.avg_pool3d(padded, 3, stride=1)
    return field
