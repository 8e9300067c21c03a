"""Sparse displacement, l1: small displacements are shrunk to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, checked
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("sparse_displacement_l1")
@dataclass(frozen=True)
class SparseDisplacementL1(Regularizer):
    r"""Mean length of the displacement, :math:`\tau(u) = |u|_2` per voxel.

    The sparsity term :math:`\tau` of the elastic cost :math:`\tfrac12|u|^2 + \tau(u)`. Without
    ``grouped`` it is :math:`|u|_1`, as in the paper; with it the components of a voxel are zero
    together, and the value does not depend on the axes (an adaptation). It is not zero for a
    translation, so align rigidly first. Unit: mm. ``tissue`` is not used.
    :meth:`displacement_prox` is its proximal map, the soft threshold, which sets displacements
    below the threshold to exactly zero.

    For synthetic CT: between two scans of one day, much of the body is not displaced.

    Acts at ``displacement``.

    Parameters
    ----------
    grouped
        One length per voxel instead of three absolute values.

    References
    ----------
    Cuturi, Klein & Ablin, Monge, Bregman and Occam: Interpretable Optimal Transport in
    High-Dimensions with Feature-Sparse Maps, ICML 2023, arXiv:2302.04065.
    """

    grouped: bool = True

    penalises_translation: ClassVar[bool] = True

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [mm]."""
        return self._length(checked(u)).sum(dim=1).mean()

    def displacement_prox(self, u: Tensor, step_mm: float) -> Tensor:
        r""":math:`\arg\min_v \tfrac12|v-u|^2 + \text{step} \cdot \tau(v)` in each voxel.

        ``u`` (B, 3, Z, Y, X) with every length shortened by ``step_mm`` [mm], at most to zero.
        """
        length = self._length(checked(u)).clamp(min=torch.finfo(u.dtype).tiny)
        return u * (1 - step_mm / length).clamp(min=0)

    def _length(self, u: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(u, dim=1, keepdim=True)
        return length if self.grouped else u.abs()
