"""Log-Jacobian: halving a volume is as bad as doubling it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, cells, determinant
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("log_jacobian")
@dataclass(frozen=True)
class LogJacobian(Regularizer):
    r"""Mean squared logarithm of the volume ratio, :math:`(\log \max(\det J, \delta))^2`.

    :math:`J = I + \nabla u` on cells of forward differences. Rotations and every other map that
    keeps volume are free, whatever their size. Below the floor :math:`\delta` the value stays at
    :math:`\log^2\delta` and there is no gradient: add ``folding`` where folds are to be undone.
    No unit. With ``tissue`` (B, 1, Z, Y, X) [1], a weight voxel by voxel, gas and lung can be
    let go.

    For synthetic CT: a plausible volume everywhere, in the measure by which the gate judges.

    Acts at ``displacement``.

    Parameters
    ----------
    floor
        Smallest determinant that enters the logarithm [1].

    References
    ----------
    Rohlfing, Maurer, Bluemke & Jacobs, Volume-preserving nonrigid registration of MR breast
    images using free-form deformation with an incompressibility constraint, IEEE Trans. Med.
    Imaging 22 (2003) 730-741.
    """

    floor: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.floor < 1:
            raise ValueError(f"floor must lie between 0 and 1, got {self.floor}")

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm], weighted by ``tissue``; a scalar [1]."""
        change = determinant(u, spacing_mm).clamp(min=self.floor).log().square()
        return change.mean() if tissue is None else (cells(tissue)[:, 0] * change).mean()
