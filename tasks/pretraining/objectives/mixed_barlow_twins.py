"""Mixed Barlow Twins: uncorrelated embeddings, linear in blended windows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.pretraining.base import Features, Memory, Views, standardised
from synthct.tasks.pretraining.objectives import OBJECTIVES


@OBJECTIVES.register("mixed_barlow_twins")
@dataclass(frozen=True)
class MixedBarlowTwins:
    r"""Correlation of both views towards identity, and linear embeddings of blended windows.

    .. math:: \sum_i (1 - C_{ii})^2 + \lambda \sum_{i \neq j} C_{ij}^2 + \frac{\lambda \mu}{2}
        \left( |C_{MA} - a C_{AA} - (1 - a) C_{BA}|^2 + |C_{MB} - a C_{AB} - (1 - a) C_{BB}|^2
        \right)

    *C* is the cross-correlation of the standardised embeddings *A* and *B* of both views; *M* are
    those of windows blended from the first view of one scan, with weight *a*, and the second view
    of another, and in the last term *B* are those of that other scan, at the same voxel of the
    window. *a* is uniform in [0, 1]. The last term keeps the network from memorising a few scans,
    as Barlow Twins does in long trainings.

    Parameters
    ----------
    redundancy
        :math:`\lambda`, weight of the correlations between dimensions.
    mixing
        :math:`\mu`; 0: Barlow Twins.

    References
    ----------
    Bandara, De Melo & Patel, Guarding Barlow Twins Against Overfitting with Mixed Samples (2023),
    arXiv:2312.02151; Zbontar, Jing, Misra, LeCun & Deny, Barlow Twins, arXiv:2103.03230.
    """

    redundancy: float = 0.0078125
    mixing: float = 4.0

    def __post_init__(self) -> None:
        if self.redundancy < 0 or self.mixing < 0:
            raise ValueError(
                f"redundancy and mixing must not be negative, got {self.redundancy} and "
                f"{self.mixing}"
            )

    def __call__(self, views: Views, features: Features, memory: Memory) -> Tensor:
        """Over the voxels of the whole batch; a scalar [1]."""
        a, b = standardised(features.first), standardised(features.second)
        correlation = a.T @ b / len(a)
        diagonal = torch.diagonal(correlation)
        off = correlation.square().sum() - diagonal.square().sum()
        twins = (1 - diagonal).square().sum() + self.redundancy * off
        if self.mixing == 0:
            return twins
        share = float(torch.rand((), generator=views.rng))
        order = torch.randperm(len(views.first), generator=views.rng).to(views.first.device)
        other = views.second[order]
        blend = share * views.first + (1 - share) * other
        mixed = standardised(features.embedded(blend, views.places))
        # At the same voxel of the window, as in the blend, not at the voxel of the same anatomy.
        b = standardised(features.embedded(other, views.places))
        bent = sum(
            (
                (mixed.T @ each - share * (a.T @ each) - (1 - share) * (b.T @ each)) / len(a)
            ).square().sum()
            for each in (a, b)
        )  # fmt: skip
        return twins + self.redundancy * self.mixing / 2 * bent
