"""Sparse displacement, smoothed l0: few voxels are displaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, checked
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("sparse_displacement_l0")
@dataclass(frozen=True)
class SparseDisplacementL0(Regularizer):
    r"""Smoothed fraction of displaced voxels, :math:`1 - \exp(-|u|^2 / 2\sigma^2)`, a mean.

    Near 0 it is quadratic, and for large displacements each voxel counts 1: unlike with an
    absolute value, large displacements are not shrunk. It is not zero for a translation, so align
    rigidly first. Without ``grouped`` it is the mean over voxels of the sum over components, as in
    the paper; with it the components of a voxel are zero together, and the value does not depend
    on the axes (an adaptation). No unit. ``tissue`` is not used.

    For synthetic CT: between two scans of one day, much of the body is not displaced.

    Acts at ``displacement``.

    Parameters
    ----------
    sigma_mm
        Length beyond which a voxel counts as displaced [mm].
    grouped
        Count voxels instead of components.

    References
    ----------
    Chen, Xie & Zhang, Displacement-Sparse Neural Optimal Transport, arXiv:2502.01889 (2025).
    """

    sigma_mm: float = 1.0
    grouped: bool = True

    penalises_translation: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.sigma_mm <= 0:
            raise ValueError(f"sigma_mm must be positive [mm], got {self.sigma_mm}")

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [1]."""
        squared = checked(u).square()
        if self.grouped:
            squared = squared.sum(dim=1, keepdim=True)
        return -torch.expm1(-squared / (2 * self.sigma_mm**2)).sum(dim=1).mean()
