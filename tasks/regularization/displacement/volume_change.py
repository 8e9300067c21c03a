"""Change of volume: divergence, log-Jacobian and folding."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, cells, determinant, divergence
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("divergence")
@dataclass(frozen=True)
class Divergence(Regularizer):
    r"""Mean squared divergence of the displacement, :math:`(\nabla \cdot u)^2`.

    The change of volume to first order, on cells of forward differences. Shear has no cost; a
    rotation by :math:`\theta` has the value :math:`4(1-\cos\theta)^2`, an error of the
    linearisation. Unit: (mm/mm)^2. With ``tissue`` (B, 1, Z, Y, X) [1], a weight for each voxel,
    gas and lung can be excluded.

    For synthetic CT: muscle and organs are incompressible, whatever the similarity of the images
    suggests.

    Acts at ``displacement``.

    References
    ----------
    Mansi, Pennec, Sermesant, Delingette & Ayache, iLogDemons: a demons-based registration
    algorithm for tracking incompressible elastic biological tissues, Int. J. Comput. Vis. 92
    (2011) 92-111, doi:10.1007/s11263-010-0405-z.
    """

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm], weighted by ``tissue``; a scalar [1]."""
        change = divergence(u, spacing_mm).square()
        return change.mean() if tissue is None else (cells(tissue)[:, 0] * change).mean()


@REGULARIZERS.register("log_jacobian")
@dataclass(frozen=True)
class LogJacobian(Regularizer):
    r"""Mean squared logarithm of the volume ratio, :math:`(\log \max(\det J, \delta))^2`.

    :math:`J = I + \nabla u` on cells of forward differences. Rotations and every other map that
    preserves volume have no cost, whatever their size. Below the floor :math:`\delta` the value is
    constant, :math:`\log^2\delta`, and there is no gradient: add ``folding`` to remove folds. No
    unit. With ``tissue`` (B, 1, Z, Y, X) [1], a weight for each voxel, gas and lung can be
    excluded.

    For synthetic CT: plausible changes of volume, by the measure that the registration's quality
    gate uses.

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
            raise ValueError(f"floor must be between 0 and 1, got {self.floor}")

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm], weighted by ``tissue``; a scalar [1]."""
        change = determinant(u, spacing_mm).clamp(min=self.floor).log().square()
        return change.mean() if tissue is None else (cells(tissue)[:, 0] * change).mean()


@REGULARIZERS.register("folding")
@dataclass(frozen=True)
class Folding(Regularizer):
    r"""Mean depth of folds, :math:`\max(0, m - \det J)`, :math:`J = I + \nabla u`.

    On cells of forward differences. Zero if every volume ratio exceeds the margin *m*; unlike
    that of a logarithm, its gradient does not vanish in a fold, so that existing folds are
    removed. No unit. :meth:`fraction` gives the fraction of folded cells (:math:`\det J \le 0`).
    ``tissue`` is not used: folds are wrong in every tissue.

    For synthetic CT: a warped CT in which tissue appears twice is neither a valid target nor a
    valid reference.

    Acts at ``displacement``.

    Parameters
    ----------
    margin
        Volume ratio below which a cell is penalised [1]; 0 acts on folds only.

    References
    ----------
    Mok & Chung, Fast symmetric diffeomorphic image registration with convolutional neural
    networks, CVPR 2020, arXiv:2003.09514.
    """

    margin: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise ValueError(f"margin must be in [0, 1), got {self.margin}")

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [1]."""
        return (self.margin - determinant(u, spacing_mm)).clamp(min=0).mean()

    def fraction(self, u: Tensor, spacing_mm: Spacing) -> Tensor:
        """Fraction of cells whose determinant is at most 0; a scalar in [0, 1]."""
        return (determinant(u, spacing_mm) <= 0).to(u.dtype).mean()
