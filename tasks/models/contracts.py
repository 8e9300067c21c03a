"""Protocols of networks and losses, and the values that are passed to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor, nn

from synthct.tasks.models.description import TargetScaling


@dataclass(frozen=True, eq=False)
class Batch:
    """Patches of several cases, in network units.

    Parameters
    ----------
    source
        (B, slices, Y, X) for 2.5-D, (B, 1, Z, Y, X) for 3-D; scaled intensities.
    target
        (B, 1, Y, X) or (B, 1, Z, Y, X); CT scaled to [-1, 1].
    mask
        Same shape as ``target``; 1 inside the body and the CT's field of view, else 0.
    spacing_mm
        Voxel size (z, y, x) [mm], the same for every case.
    regions, cases, starts
        Region, case and first voxel (z, y, x) of each patch.
    """

    source: Tensor
    target: Tensor
    mask: Tensor
    spacing_mm: tuple[float, float, float]
    regions: tuple[str, ...]
    cases: tuple[str, ...]
    starts: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, eq=False)
class Target:
    """What the prediction is compared with, and the weight of each voxel.

    Parameters
    ----------
    value
        (B, 1, ..., Y, X), CT in network units [-1, 1].
    weight
        Same shape, at least 0; the body mask unless a regularizer changes it.
    spacing_mm
        Voxel size (z, y, x) [mm].
    scaling
        Relation of network units to HU: one unit is ``(high_hu - low_hu) / 2`` HU.
    """

    value: Tensor
    weight: Tensor
    spacing_mm: tuple[float, float, float]
    scaling: TargetScaling


class Loss(Protocol):
    """A data term, in network units; its weight is in the params."""

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare ``prediction`` with ``target.value``, same shape; a scalar."""


class Network(Protocol):
    """A frozen dataclass whose fields are the architecture's options."""

    @property
    def slices(self) -> int:
        """Neighbouring slices that are input channels (2.5-D; odd); 1 for 3-D."""

    @property
    def dimensions(self) -> Literal["2.5d", "3d"]:
        """Whether its input is stacks of slices as channels, or volumes."""

    @property
    def divisor(self) -> int:
        """Patch sizes must be multiples of this, the total down-sampling factor."""

    def build(self) -> nn.Module:
        """A module with initial weights from torch's global generator."""
