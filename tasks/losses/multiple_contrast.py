"""Multiple contrast: mean absolute error over the body and inside HU windows of tissues."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from synthct.tasks.losses import LOSSES
from synthct.tasks.losses.pointwise import as_hu, weighted_mean
from synthct.tasks.models.contracts import Target


@LOSSES.register("multiple_contrast")
@dataclass(frozen=True)
class MultipleContrast:
    r"""Mean absolute error over the body and, in addition, inside each HU window,

    .. math:: \frac{1}{1 + \sum_k a_k}\left(\overline{|p - t|} +
              \sum_k a_k\, \overline{|p - t|}^{\,W_k}\right),
              \qquad W_k = \{\, l_k \le t < h_k \,\}

    where the windows are those of the reference CT. Bone is a few percent of the voxels and has
    little influence on the plain mean. A window without voxels in the batch adds nothing. Network
    units, as for the mean absolute error.

    Parameters
    ----------
    windows_hu
        Pairs (low, high) [HU]; soft tissue and bone.
    window_weights
        :math:`a_k` of each window; empty: 1.

    References
    ----------
    Zhou, Wu, Zhao, Chen, Zhang & Wang, GLFC: Unified Global-Local Feature and Contrast Learning
    with Mamba-Enhanced UNet for Synthetic CT Generation from CBCT, arXiv:2501.02992.
    """  # noqa: D400

    windows_hu: tuple[tuple[float, float], ...] = ((-160.0, 240.0), (240.0, 3071.0))
    window_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.windows_hu or any(low >= high for low, high in self.windows_hu):
            raise ValueError(f"windows_hu must be pairs of low < high, got {self.windows_hu}")
        if self.window_weights and len(self.window_weights) != len(self.windows_hu):
            raise ValueError(
                f"window_weights must have one weight per window, got {len(self.window_weights)} "
                f"for {len(self.windows_hu)}"
            )
        if any(weight < 0 or not math.isfinite(weight) for weight in self.window_weights):
            raise ValueError(f"window_weights must not be negative, got {self.window_weights}")

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare (B, 1, ..., Y, X) with ``target.value``; a scalar [network units]."""
        error = (prediction - target.value).abs()
        hu = as_hu(target.value, target)
        weights = self.window_weights or (1.0,) * len(self.windows_hu)
        total = weighted_mean(error, target.weight)
        for (low, high), weight in zip(self.windows_hu, weights, strict=True):
            window = ((hu >= low) & (hu < high)).to(error)
            total = total + weight * weighted_mean(error, window * target.weight)
        return total / (1 + sum(weights))
