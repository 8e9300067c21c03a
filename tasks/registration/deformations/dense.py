"""A displacement vector at every voxel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.fields.separable import separable
from synthct.tasks.registration.contracts import Level
from synthct.tasks.registration.deformations import DEFORMATIONS


@DEFORMATIONS.register("dense")
@dataclass(frozen=True)
class Dense:
    r"""Initial displacement plus a smoothed correction at every voxel, :math:`u_0 + G_\sigma * c`.

    The parameters are *c* (1, 3, Z, Y, X) [mm], initially zero. The Gaussian G lets voxels without
    texture follow their neighbours; its width is proportional to the level's factor. Corrections
    of several levels add up, so that the result may be less smooth than any one of them.

    Parameters
    ----------
    smoothing_mm
        Standard deviation of the Gaussian at factor 1 [mm]; 0: no smoothing.
    """

    smoothing_mm: float = 4.0

    def __post_init__(self) -> None:
        if self.smoothing_mm < 0:
            raise ValueError(f"smoothing_mm must be at least 0 [mm], got {self.smoothing_mm}")

    def around(self, u: Tensor, level: Level) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Zero correction, and the map from a correction to ``u`` (1, 3, Z, Y, X) [mm] plus it."""
        if self.smoothing_mm == 0:
            return torch.zeros_like(u), lambda correction: u + correction
        kernels = [kernel.to(u) for kernel in self._kernels(level)]
        return torch.zeros_like(u), lambda correction: u + separable(correction, kernels)

    def _kernels(self, level: Level) -> list[Tensor]:
        """Smoothing matrix of each axis (voxels, voxels); rows sum to 1."""
        kernels = []
        for n, step in zip(level.shape, level.spacing_mm, strict=True):
            at = torch.arange(n, dtype=torch.float64) * step
            far = (at[:, None] - at) / (self.smoothing_mm * level.factor)
            kernel = torch.exp(-(far**2) / 2)
            kernels.append(kernel / kernel.sum(dim=1, keepdim=True))
        return kernels
