"""Curvature: the displacement departs little from the mean of its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, laplacian
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("curvature")
@dataclass(frozen=True)
class Curvature(Regularizer):
    r"""Mean squared Laplacian of the displacement, :math:`\sum_i (\nabla^2 u_i)^2`.

    Over interior voxels. Unit: 1/mm^2. Zero on every affine map, and on other harmonic fields,
    which bending does punish. ``tissue`` is not used.

    For synthetic CT: smooth motion without an affine step before, at the price of diffusion.

    Acts at ``displacement``.

    References
    ----------
    Fischer & Modersitzki, Curvature based image registration, J. Math. Imaging Vis. 18 (2003)
    81-85.
    """

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [1/mm^2]."""
        return 3 * laplacian(u, spacing_mm).square().mean()
