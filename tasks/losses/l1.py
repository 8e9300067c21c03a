"""Mean absolute error over the body."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target


@LOSSES.register("l1")
@dataclass(frozen=True)
class L1:
    r"""Weighted mean absolute error, :math:`\sum_i w_i |p_i - t_i| / \sum_i w_i`.

    In network units: times ``(high_hu - low_hu) / 2`` it is the mean absolute error in HU. A
    batch without weight gives 0.
    """

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare (B, 1, ..., Y, X) with ``target.value``; a scalar [network units]."""
        error = (prediction - target.value).abs() * target.weight
        return error.sum() / target.weight.sum().clamp(min=1)
