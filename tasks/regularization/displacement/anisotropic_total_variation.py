"""Anisotropic total variation: the displacement may jump in planes of the grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, edges
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.displacement.total_variation import rounded_root


@REGULARIZERS.register("anisotropic_total_variation")
@dataclass(frozen=True)
class AnisotropicTotalVariation(Regularizer):
    r"""Mean slope, :math:`\sum_{ij} \sqrt{(\partial_j u_i)^2 + \varepsilon^2}-\varepsilon`.

    Each axis is averaged over its own differences between neighbours, so that derivatives are
    penalised independently: they are sparse, and jumps are in planes of the grid (the couch, the
    diaphragm in thick slices). For an oblique jump the value is up to :math:`\sqrt3` times the
    isotropic one. Unit: mm/mm. The paper penalises the contraction of a tensor, here it is a
    displacement: an adaptation. ``tissue`` is not used.

    For synthetic CT: keeps slice-wise jumps of the displacement in MR with thick slices.

    Acts at ``displacement``.

    Parameters
    ----------
    epsilon
        Rounding of the corner at zero slope [mm/mm]. Larger values are easier to optimise.

    References
    ----------
    Sun, Manchester, Jin, Liu & Chen, Tensor Gaussian Process with Contraction for Multi-Channel
    Imaging Analysis, ICML 2023, arXiv:2301.11203.
    """

    epsilon: float = 0.01

    def __post_init__(self) -> None:
        if self.epsilon <= 0:
            raise ValueError(f"epsilon must be positive [mm/mm], got {self.epsilon}")

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [1]."""
        squares = (edges(u, axis, spacing_mm).square() for axis in range(3))
        means = [rounded_root(squared, self.epsilon).mean() for squared in squares]
        return 3 * torch.stack(means).sum()
