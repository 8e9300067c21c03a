"""Squared for small errors, absolute for large ones."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target


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
    Huber, Ann. Math. Stat. 35 (1964) 73-101.
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
