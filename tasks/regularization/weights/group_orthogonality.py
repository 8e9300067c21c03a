"""Group orthogonality: the filters of each group of a layer are orthonormal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import PeriodicPenalty, Step
from synthct.tasks.regularization.layers import Filters


@REGULARIZERS.register("group_orthogonality")
@dataclass(frozen=True)
class GroupOrthogonality(Filters, PeriodicPenalty):
    r"""Filters of a group are pulled towards orthonormality, without coupling between groups.

    .. math:: \sum_l \sum_{g} \left\| W_{l,g} W_{l,g}^\top - I \right\|_F^2

    The rows of :math:`W_{l,g}` are the filters of group *g* of layer *l*; with more filters than
    weights in a filter, :math:`\|W^\top W - I\|_F^2`, which can be zero. Compared with
    orthogonality of the whole layer, the computation is cheaper by the number of groups, the
    constraint is weaker, and it matches group normalisation with the same groups. No unit;
    independent of the batch.

    For synthetic CT: redundant filters waste capacity when there are few patients.

    Acts at ``penalty``. The strength in the authors' code is 0.01.

    Parameters
    ----------
    groups
        Groups of a layer; where the number of filters is not divisible by it, or a group would
        have fewer than ``least``, the next smaller number that fits.
    least
        Fewest filters in a group.
    members
        ``neighbours``: a group has consecutive channels, as in group normalisation; ``spread``:
        a set has one channel of each of those groups.

    References
    ----------
    Kurtz, Bar & Giryes, Group Orthogonalization Regularization for Vision Models Adaptation
    and Robustness, BMVC 2023, arXiv:2306.10001.
    """

    groups: int = 32
    least: int = 4
    members: Literal["neighbours", "spread"] = "neighbours"

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise ValueError(f"groups must be at least 1, got {self.groups}")
        if self.least < 1:
            raise ValueError(f"least must be at least 1, got {self.least}")
        if self.members not in ("neighbours", "spread"):
            raise ValueError(f"members must be neighbours or spread, got {self.members!r}")
        super().__post_init__()

    def cost(self, step: Step) -> Tensor:
        """Sum over layers and groups; a scalar without unit."""
        distances = [_distance(self._sets(matrix)) for _, matrix in self.matrices(step.model)]
        return torch.stack(distances).sum()

    def _sets(self, matrix: Tensor) -> Tensor:
        """(sets, filters of a set, weights of a filter)."""
        count = matrix.shape[0]
        most = min(self.groups, max(1, count // self.least))
        groups = next(n for n in range(most, 0, -1) if count % n == 0)
        grouped: Tensor = matrix.unflatten(0, (groups, -1))
        return grouped if self.members == "neighbours" else grouped.transpose(0, 1)


def _distance(sets: Tensor) -> Tensor:
    """Squared Frobenius distance of the smaller Gram matrix of each set from the identity."""
    tall = sets.shape[1] > sets.shape[2]
    gram = sets.mT @ sets if tall else sets @ sets.mT
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    distance: Tensor = ((gram - identity) ** 2).sum()
    return distance
