"""Smooth displacements: diffusion, bending energy and curvature."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, edges, laplacian, second
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("diffusion")
@dataclass(frozen=True)
class Diffusion(Regularizer):
    r"""Mean squared gradient of the displacement, :math:`\sum_{ij} (\partial_j u_i)^2`.

    Each axis is averaged over its own differences between neighbours. Unit: (mm/mm)^2. Zero for
    a translation, :math:`4(1-\cos\theta)` for a rotation: half a small angle, a quarter of the
    value. ``tissue`` is not used.

    For synthetic CT: the simplest smoothness penalty for aligning MR or CBCT with CT; it
    penalises rotations and jumps (sliding lungs) as well as noise.

    Acts at ``displacement``.

    References
    ----------
    Fischer & Modersitzki, Fast diffusion registration, Contemp. Math. 313 (2002) 117-129.
    """

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [1]."""
        means = [edges(u, axis, spacing_mm).square().mean() for axis in range(3)]
        return 3 * torch.stack(means).sum()


PAIRS = ((0, 0, 1), (1, 1, 1), (2, 2, 1), (0, 1, 2), (0, 2, 2), (1, 2, 2))
"""Axes of the second derivatives, and how often each occurs in the symmetric Hessian."""


@REGULARIZERS.register("bending")
@dataclass(frozen=True)
class Bending(Regularizer):
    r"""Mean bending energy of the displacement, over its components

    .. math:: u_{zz}^2 + u_{yy}^2 + u_{xx}^2 + 2\,(u_{zy}^2 + u_{zx}^2 + u_{yx}^2).

    Each term is averaged over the voxels where its stencil fits into the grid: (1, -2, 1) along
    one axis, the four corners of a face along two. Unit: 1/mm^2. Zero for every affine map, so
    that rotation and scaling have no cost. ``tissue`` is not used.

    For synthetic CT: the penalty of the SynthRAD B-spline presets (weight 10 to 50 there).

    Acts at ``displacement``.

    References
    ----------
    Rueckert, Sonoda, Hayes, Hill, Leach & Hawkes, Nonrigid registration using free-form
    deformations, IEEE Trans. Med. Imaging 18 (1999) 712-721, doi:10.1109/42.796284.
    """  # noqa: D400

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [1/mm^2]."""
        terms = [times * second(u, a, b, spacing_mm).square().mean() for a, b, times in PAIRS]
        return 3 * torch.stack(terms).sum()


@REGULARIZERS.register("curvature")
@dataclass(frozen=True)
class Curvature(Regularizer):
    r"""Mean squared Laplacian of the displacement, :math:`\sum_i (\nabla^2 u_i)^2`.

    Averaged over interior voxels. Unit: 1/mm^2. Zero for every affine map, and for other harmonic
    fields, which bending penalises. ``tissue`` is not used.

    For synthetic CT: smooth displacements without prior affine alignment, at the computational
    cost of diffusion.

    Acts at ``displacement``.

    References
    ----------
    Fischer & Modersitzki, Curvature based image registration, J. Math. Imaging Vis. 18 (2003)
    81-85.
    """

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [1/mm^2]."""
        return 3 * laplacian(u, spacing_mm).square().mean()
