"""Repeated interpolation of the values of a level at displaced points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.registration.contracts import Level


@dataclass(frozen=True, eq=False)
class Sampler:
    """Like :mod:`synthct.tasks.fields.warping`, with the grid computed once per level.

    Parameters
    ----------
    base
        Voxel centres in normalised coordinates (1, Z, Y, X, 3), order (x, y, z), from -1 to 1.
    scale
        Normalised coordinates per millimetre (x, y, z).
    """

    base: Tensor
    scale: Tensor

    @classmethod
    def of(cls, level: Level, like: Tensor) -> Sampler:
        """Sampler of the level's grid, with the device and dtype of ``like``."""
        axes = [torch.linspace(-1, 1, n, dtype=like.dtype, device=like.device) for n in level.shape]
        base = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)[None]
        pairs = zip(reversed(level.shape), reversed(level.spacing_mm), strict=True)
        scale = torch.tensor([2 / (max(1, n - 1) * step) for n, step in pairs])
        return cls(base, scale.to(like))

    def __call__(self, values: Tensor, u: Tensor) -> Tensor:
        """Trilinear interpolation of ``values`` (1, C, Z, Y, X) at ``x + u(x)``.

        ``u`` (1, 3, Z, Y, X) is in mm.
        """
        found: Tensor = functional.grid_sample(
            values, self._at(u), mode="bilinear", padding_mode="border", align_corners=True
        )
        return found

    def at_voxels(self, values: Tensor, u: Tensor, places: Tensor) -> Tensor:
        """The same, only at the voxels with the flat indices (N,): (1, C, 1, 1, N)."""
        points = self._at(u).view(-1, 3)[places].view(1, 1, 1, -1, 3)
        found: Tensor = functional.grid_sample(
            values, points, mode="bilinear", padding_mode="border", align_corners=True
        )
        return found

    def inside(self, u: Tensor) -> Tensor:
        """1 where ``x + u(x)`` lies within the voxel centres, else 0: (1, 1, Z, Y, X)."""
        near = self._at(u).abs() <= 1 + 1e-5
        return near.all(dim=-1)[:, None].to(u)

    def _at(self, u: Tensor) -> Tensor:
        return self.base + u.flip(1).movedim(1, -1) * self.scale
