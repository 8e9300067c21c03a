"""Divergence: no tissue is made or lost, to first order."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, cells, divergence
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("divergence")
@dataclass(frozen=True)
class Divergence(Regularizer):
    r"""Mean squared divergence of the displacement, :math:`(\nabla \cdot u)^2`.

    The change of volume to first order, on cells of forward differences. Shears are free; a
    rotation by :math:`\theta` counts :math:`4(1-\cos\theta)^2`, an error of the linearisation.
    Unit: (mm/mm)^2. With ``tissue`` (B, 1, Z, Y, X) [1], a weight voxel by voxel, gas and lung
    can be let go.

    For synthetic CT: muscle and organs are incompressible, whatever the images tempt one to do.

    Acts at ``displacement``.

    References
    ----------
    Mansi, Pennec, Sermesant, Delingette & Ayache, iLogDemons: a demons-based registration
    algorithm for tracking incompressible elastic biological tissues, Int. J. Comput. Vis. 92
    (2011) 92-111.
    """

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm], weighted by ``tissue``; a scalar [1]."""
        change = divergence(u, spacing_mm).square()
        return change.mean() if tissue is None else (cells(tissue)[:, 0] * change).mean()
