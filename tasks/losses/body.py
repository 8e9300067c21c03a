"""What every data term does with the body mask."""

from __future__ import annotations

from torch import Tensor

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
