"""What a similarity and a deformation are to the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from tasks.registration.derivatives import Spacing


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


class Similarity(Protocol):
    """How unlike two images are. Lower is more alike."""

    def features(self, image: Tensor, spacing_mm: Spacing) -> Tensor:
        """What is compared, (1, C, Z, Y, X) of an image (1, 1, Z, Y, X); once per level.

        The moving image's features are interpolated, not recomputed, as it deforms.
        """
        ...

    def cost(self, fixed: Tensor, moved: Tensor, weight: Tensor, spacing_mm: Spacing) -> Tensor:
        """A scalar from two sets of features, ``weight`` (1, 1, Z, Y, X) saying where to look."""
        ...


class Deformation(Protocol):
    """A family of displacements u (1, 3, Z, Y, X) [mm], components along the array axes."""

    def around(self, u: Tensor, level: Level) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Parameters to start from, and the displacement on the level's grid that any have.

        Those returned give ``u``, or what the family has nearest to it.
        """
        ...
