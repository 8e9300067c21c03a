"""Voxels of a batch as samples: one row per voxel of features, sources or targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthct.tasks.regularization.base import Step
from synthct.tasks.regularization.layers import LayerOutput


@dataclass(frozen=True, eq=False)
class VoxelSample:
    """Voxels of a grid, the same in every patch, without those outside the body.

    Parameters
    ----------
    at
        (P,) flat indices into the grid.
    inside
        (B, P) bool: whether a voxel is inside the body of a patch.
    """

    at: Tensor
    inside: Tensor

    def rows(self, values: Tensor) -> Tensor:
        """(B, C, *grid) to (N, C), with N voxels inside; at least single precision."""
        picked = values.flatten(2)[:, :, self.at].transpose(1, 2)[self.inside]
        return picked.float() if picked.dtype in (torch.bfloat16, torch.float16) else picked


def draw_voxels(mask: Tensor, grid: Sequence[int], count: int, rng: torch.Generator) -> VoxelSample:
    """At most ``count`` voxels of ``grid`` that are in the body of some patch.

    Parameters
    ----------
    mask
        Body masks (B, 1, [Z,] Y, X).
    grid
        Shape of the grid, that of the mask or coarser.
    """
    inside = on_grid(mask, grid).flatten(1) > 0.5
    candidates = inside.any(dim=0).nonzero()[:, 0]
    order = torch.randperm(len(candidates), generator=rng)[:count].to(candidates.device)
    at = candidates[order]
    return VoxelSample(at, inside[:, at])


def on_grid(values: Tensor, grid: Sequence[int]) -> Tensor:
    """Means of ``values`` (B, C, [Z,] Y, X) over the cells of a coarser grid; (B, C, *grid)."""
    if tuple(values.shape[2:]) == tuple(grid):
        return values
    if len(grid) == 3:
        return functional.adaptive_avg_pool3d(values, (grid[0], grid[1], grid[2]))
    return functional.adaptive_avg_pool2d(values, (grid[0], grid[1]))


@dataclass(frozen=True, kw_only=True)
class VoxelPenalty(LayerOutput):
    """A penalty on the features of a layer at voxels drawn at random.

    Parameters
    ----------
    samples
        Number of voxels drawn, the same in each patch; those outside the body are excluded.
    """

    samples: int = 64

    least: ClassVar[int] = 2
    """Number of voxels inside the body below which there is no penalty."""

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ValueError(f"samples must be at least 2, got {self.samples}")

    def collects(self, model: nn.Module) -> Sequence[str]:
        """The layer of the features."""
        return self.chosen(model)

    def penalty(self, step: Step) -> Tensor:
        """Value of :meth:`cost` for the drawn voxels; 0 if there are too few in the body."""
        (feature,) = step.features.values()
        voxels = draw_voxels(step.batch.mask, feature.shape[2:], self.samples, step.rng)
        if int(voxels.inside.sum()) < self.least:
            return step.prediction.new_zeros(())
        return self.cost(step, feature, voxels)

    def cost(self, step: Step, feature: Tensor, voxels: VoxelSample) -> Tensor:
        """Penalise the ``feature`` (B, C, *grid) at the voxels; a scalar."""
        raise NotImplementedError
