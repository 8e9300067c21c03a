"""Interfaces of a similarity and a deformation for the PyTorch registration engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing


@dataclass(frozen=True)
class Level:
    """Grid of one resolution level.

    Parameters
    ----------
    shape
        Number of voxels (Z, Y, X).
    spacing_mm
        Voxel spacing (z, y, x) [mm].
    offset_mm
        Centre of the first voxel relative to that of the finest level (z, y, x) [mm].
    factor
        Requested voxel side as a multiple of the finest voxel side.
    """

    shape: tuple[int, int, int]
    spacing_mm: Spacing
    offset_mm: Spacing
    factor: float


Cost = Callable[[Tensor, Tensor], Tensor]
"""Scalar cost (lower is more similar) as a function of the sampled moving values (1, C, Z, Y, X)
and a voxel weight (1, 1, Z, Y, X)."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two images of one level, prepared for repeated comparison as the moving one is deformed.

    Parameters
    ----------
    moving
        Values sampled at displaced points (1, C, Z, Y, X).
    cost
        Cost over all voxels.
    cost_of
        For voxel-wise similarities: the cost over the voxels with the flat indices (N,), shapes
        (1, C, 1, 1, N), so that voxels outside the mask need not be sampled.
    """

    moving: Tensor
    cost: Cost
    cost_of: Callable[[Tensor], Cost] | None = None


def voxels(values: Tensor, places: Tensor) -> Tensor:
    """``values`` (1, C, Z, Y, X) at the flat indices (N,): (1, C, 1, 1, N)."""
    return values.flatten(2)[:, :, None, None, places]


class Similarity(Protocol):
    """Dissimilarity of two images."""

    def compare(
        self, fixed: Tensor, moving: Tensor, spacing_mm: Spacing, rng: torch.Generator
    ) -> Comparison:
        """Prepare two images (1, 1, Z, Y, X) on one grid; random numbers come from ``rng``."""
        ...


class Featured:
    """A similarity of features that are computed once per level.

    The moving image's features are interpolated, not recomputed, as it deforms.
    """

    one_by_one: ClassVar[bool] = False
    """Whether the cost is voxel-wise: it needs only mask voxels, in any order and no neighbours."""

    def features(self, image: Tensor, spacing_mm: Spacing) -> Tensor:
        """Features (1, C, Z, Y, X) of an image (1, 1, Z, Y, X)."""
        raise NotImplementedError

    def cost(self, fixed: Tensor, moved: Tensor, weight: Tensor, spacing_mm: Spacing) -> Tensor:
        """Scalar cost of two sets of features with the voxel ``weight`` (1, 1, Z, Y, X)."""
        raise NotImplementedError

    def compare(
        self, fixed: Tensor, moving: Tensor, spacing_mm: Spacing, rng: torch.Generator
    ) -> Comparison:
        """Compare the features of both images."""
        return self.compared(
            self.features(fixed, spacing_mm), self.features(moving, spacing_mm), spacing_mm
        )

    def compared(self, seen: Tensor, other: Tensor, spacing_mm: Spacing) -> Comparison:
        """The comparison of given features of the fixed and the moving image."""

        def cost_of(places: Tensor) -> Cost:
            there = voxels(seen, places)
            return lambda moved, weight: self.cost(there, moved, weight, spacing_mm)

        return Comparison(
            other,
            lambda moved, weight: self.cost(seen, moved, weight, spacing_mm),
            cost_of if self.one_by_one else None,
        )


class Deformation(Protocol):
    """A family of displacements u (1, 3, Z, Y, X) [mm], components along the array axes."""

    def around(self, u: Tensor, level: Level) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Initial parameters, and the function from parameters to displacement on the level's grid.

        The initial parameters yield ``u`` or the closest approximation in the family. Parameters
        are scaled to millimetres, because one step size of the optimiser is used for all.
        """
        ...
