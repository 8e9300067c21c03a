"""The voxel-wise losses L1 and Huber, and the weighted mean that all losses use."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target


def inside(prediction: Tensor, target: Target) -> Tensor:
    """The prediction where the weight is positive, else the target, for losses that filter."""
    return prediction.where(target.weight > 0, target.value)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """``sum(values * weight) / sum(weight)``, a scalar; 0 if all weights are 0."""
    return (values * weight).sum() / weight.sum().clamp(min=1)


def as_hu(values: Tensor, target: Target) -> Tensor:
    """Network units as CT numbers [HU]."""
    scaling = target.scaling
    return (values + 1) / 2 * (scaling.high_hu - scaling.low_hu) + scaling.low_hu


@LOSSES.register("l1")
@dataclass(frozen=True)
class L1:
    r"""Weighted mean absolute error, :math:`\sum_i w_i |p_i - t_i| / \sum_i w_i`.

    In network units: times ``(high_hu - low_hu) / 2`` it is the mean absolute error in HU. It is
    0 for a batch without weight.
    """

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare (B, 1, ..., Y, X) with ``target.value``; a scalar [network units]."""
        return weighted_mean((prediction - target.value).abs(), target.weight)


@LOSSES.register("huber")
@dataclass(frozen=True)
class Huber:
    r"""Weighted mean of :math:`h(e) = e^2 / 2\delta` for :math:`|e| \le \delta`, else
    :math:`|e| - \delta / 2`.

    Converges to the mean absolute error [network units] as ``delta_hu`` goes to 0; its gradient
    is continuous at zero error.

    Parameters
    ----------
    delta_hu
        Error up to which the loss is quadratic [HU].

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


@LOSSES.register("l1_by_hu")
@dataclass(frozen=True)
class L1ByHu:
    r"""Mean absolute error with a weight for each band of HU, for a site with other tissues.

    .. math:: \frac{\sum_i w_i\, \omega(t_i)\, |p_i - t_i|}{\sum_i w_i}

    where the weight :math:`\omega` depends on the CT number of the target. With the importance
    weights :math:`p_t / p_s` of another site's patients
    (:func:`synthct.tasks.transport.target_shift.target_weights`) it is the mean absolute error
    that the network would have there. In network units; without bands it is ``l1``.

    Parameters
    ----------
    edges_hu
        Limits between the bands, rising [HU].
    weights
        Weight of each band, from the lowest HU up: one more than there are limits.

    References
    ----------
    Kim et al., ReTaSA, ICLR 2024, arXiv:2401.16410.
    """

    edges_hu: tuple[float, ...] = ()
    weights: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if any(b <= a for a, b in itertools.pairwise(self.edges_hu)):
            raise ValueError(f"edges_hu must rise, got {list(self.edges_hu)}")
        if len(self.weights) != len(self.edges_hu) + 1:
            raise ValueError(
                f"weights must be {len(self.edges_hu) + 1} numbers for {len(self.edges_hu)} "
                f"edges_hu, got {len(self.weights)}"
            )
        if min(self.weights) < 0 or max(self.weights) == 0:
            raise ValueError("weights must not be negative, nor all 0")

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare (B, 1, ..., Y, X) with ``target.value``; a scalar [network units]."""
        hu = as_hu(target.value.detach(), target).contiguous()
        band = torch.bucketize(hu, torch.tensor(self.edges_hu).to(hu), right=True)
        worth = torch.tensor(self.weights).to(hu)[band]
        return weighted_mean((prediction - target.value).abs() * worth, target.weight)
