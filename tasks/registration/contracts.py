"""What a similarity and a deformation are to the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing


@dataclass(frozen=True)
class Level:
    """The grid that one resolution works on.

    Parameters
    ----------
    shape
        Voxels (Z, Y, X).
    spacing_mm
        Distance of their centres (z, y, x) [mm].
    offset_mm
        Centre of the first voxel, from that of the finest level (z, y, x) [mm].
    factor
        How much coarser than the finest voxel side it was asked to be.
    """

    shape: tuple[int, int, int]
    spacing_mm: Spacing
    offset_mm: Spacing
    factor: float


Cost = Callable[[Tensor, Tensor], Tensor]
"""A scalar, lower is more alike, from what was looked up (1, C, Z, Y, X) and from where to look,
a weight (1, 1, Z, Y, X)."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two images of one level, ready to be compared again and again as one deforms.

    Parameters
    ----------
    moving
        What is looked up at displaced points (1, C, Z, Y, X).
    cost
        Of all voxels.
    cost_of
        Where voxels need no neighbours: the cost of those with the flat indices (N,), shapes
        (1, C, 1, 1, N). Then nothing is looked up where nothing is to be seen.
    """

    moving: Tensor
    cost: Cost
    cost_of: Callable[[Tensor], Cost] | None = None


def voxels(values: Tensor, places: Tensor) -> Tensor:
    """Those of ``values`` (1, C, Z, Y, X) at flat indices (N,): (1, C, 1, 1, N)."""
    return values.flatten(2)[:, :, None, None, places]


class Similarity(Protocol):
    """How unlike two images are."""

    def compare(
        self, fixed: Tensor, moving: Tensor, spacing_mm: Spacing, rng: torch.Generator
    ) -> Comparison:
        """Prepare two images (1, 1, Z, Y, X) on one grid; whatever is drawn comes from ``rng``."""
        ...


class Featured:
    """A similarity that compares features, computed once a level.

    The moving image's features are interpolated, not recomputed, as it deforms.
    """

    one_by_one: ClassVar[bool] = False
    """Whether the cost needs the voxels of the mask alone, in any order and without neighbours."""

    def features(self, image: Tensor, spacing_mm: Spacing) -> Tensor:
        """What is compared, (1, C, Z, Y, X), of an image (1, 1, Z, Y, X)."""
        raise NotImplementedError

    def cost(self, fixed: Tensor, moved: Tensor, weight: Tensor, spacing_mm: Spacing) -> Tensor:
        """A scalar from two sets of features, ``weight`` (1, 1, Z, Y, X) saying where to look."""
        raise NotImplementedError

    def compare(
        self, fixed: Tensor, moving: Tensor, spacing_mm: Spacing, rng: torch.Generator
    ) -> Comparison:
        """The features of both images."""
        return self.compared(
            self.features(fixed, spacing_mm), self.features(moving, spacing_mm), spacing_mm
        )

    def compared(self, seen: Tensor, other: Tensor, spacing_mm: Spacing) -> Comparison:
        """Features of the fixed and of the moving image, made ready."""

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
        """Parameters to start from, and the displacement on the level's grid that any have.

        Those returned give ``u``, or what the family has nearest to it. Parameters are of the
        size of millimetres, for one step of the search must suit all.
        """
        ...
