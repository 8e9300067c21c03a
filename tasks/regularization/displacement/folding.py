"""Folding: space is not turned inside out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, determinant
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("folding")
@dataclass(frozen=True)
class Folding(Regularizer):
    r"""Mean depth of folds, :math:`\max(0, m - \det J)`, :math:`J = I + \nabla u`.

    On cells of forward differences. Zero as long as every volume ratio exceeds the margin *m*;
    unlike a logarithm its gradient does not vanish in a fold, so it undoes those that are there.
    No unit. :meth:`fraction` counts them (:math:`\det J \le 0`). ``tissue`` is not used: folds
    are wrong in every tissue.

    For synthetic CT: a moved CT in which tissue appears twice teaches and scores nonsense.

    Acts at ``displacement``.

    Parameters
    ----------
    margin
        Volume ratio below which a cell is pushed open [1]; 0 acts on folds alone.

    References
    ----------
    Mok & Chung, Fast symmetric diffeomorphic image registration with convolutional neural
    networks, CVPR 2020, arXiv:2003.09514.
    """

    margin: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise ValueError(f"margin must lie in [0, 1), got {self.margin}")

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [1]."""
        return (self.margin - determinant(u, spacing_mm)).clamp(min=0).mean()

    def fraction(self, u: Tensor, spacing_mm: Spacing) -> Tensor:
        """Share of the cells whose determinant is at most 0; a scalar in [0, 1]."""
        return (determinant(u, spacing_mm) <= 0).to(u.dtype).mean()
