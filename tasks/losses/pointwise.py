"""Losses voxel by voxel, L1 and Huber, and the mean over the body that every loss takes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target


def inside(prediction: Tensor, target: Target) -> Tensor:
    """The prediction where it counts, the target elsewhere: filters see no error from outside."""
    return prediction.where(target.weight > 0, target.value)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """``sum(values * weight) / sum(weight)``; 0 without weight."""
    return (values * weight).sum() / weight.sum().clamp(min=1)


def as_hu(values: Tensor, target: Target) -> Tensor:
    """Network units as CT numbers [HU]."""
    scaling = target.scaling
    return (values + 1) / 2 * (scaling.high_hu - scaling.low_hu) + scaling.low_hu


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


@LOSSES.register("huber")
@dataclass(frozen=True)
class Huber:
    r"""Weighted mean of :math:`h(e) = e^2 / 2\delta` for :math:`|e| \le \delta`, else
    :math:`|e| - \delta / 2`.

    Tends to the mean absolute error [network units] as ``delta_hu`` goes to 0; its gradient does
    not jump where the prediction is right.

    Parameters
    ----------
    delta_hu
        Error up to which it is quadratic [HU].

    References
    ----------
    Huber, Robust Estimation of a Location Parameter, Ann. Math. Stat. 35 (1964) 73-101,
    doi:10.1214/aoms/1177703732.
    """  # noqa: D205

    delta_hu: float = 50.0

    def __post_init__(self) -> None:
        if self.delta_hu <= 0:
            raise ValueError(f"delta_hu must be positive [HU], got {self.delta_hu}")

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare (B, 1, ..., Y, X) with ``target.value``; a scalar [network units]."""
        delta = 2 * self.delta_hu / (target.scaling.high_hu - target.scaling.low_hu)
        error = functional.huber_loss(prediction, target.value, reduction="none", delta=delta)
        return (error * target.weight).sum() / (delta * target.weight.sum().clamp(min=1))
