"""Sparse displacement, counted: tissue moves only where it must."""

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
    r"""Smoothed share of what moves, :math:`1 - \exp(-|u|^2 / 2\sigma^2)`, mean over voxels.

    Near 0 it is quadratic, far away each voxel counts 1 however far it goes: large motions are
    not shrunk, as an absolute value would shrink them. Not zero on a translation: it acts on
    the motion itself, so align rigidly first. Without ``grouped`` it is the mean over voxels of
    the sum over components, as in the paper; with it a voxel moves or rests as a whole, and the
    axes of the grid do not matter (an adaptation). No unit. ``tissue`` is not used.

    For synthetic CT: between two scans of one day much of the body lies where it lay.

    Acts at ``displacement``.

    Parameters
    ----------
    sigma_mm
        Displacement beyond which a voxel counts as moving [mm].
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
