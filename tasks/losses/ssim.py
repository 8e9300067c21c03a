"""Structural similarity (SSIM): local means, variances and covariance."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from synthct.tasks.losses import LOSSES
from synthct.tasks.losses.pointwise import inside, weighted_mean
from synthct.tasks.models.contracts import Target

RANGE = 2.0
"""Range of network units, from -1 to 1."""


@LOSSES.register("ssim")
@dataclass(frozen=True)
class Ssim:
    r"""Weighted mean of :math:`1 - s`, with

    .. math:: s = \frac{(2\mu_p\mu_t + C_1)(2\sigma_{pt} + C_2)}
              {(\mu_p^2 + \mu_t^2 + C_1)(\sigma_p^2 + \sigma_t^2 + C_2)},
              \qquad C_i = (K_i R)^2

    over cubic windows (squares for 2.5-D) of ``window`` voxels around each voxel, uniform
    weights, edge voxels repeated; *R* = 2, the range of network units. It has one scale, unlike
    the MS-SSIM of the evaluation, which has five and another mask. In [0, 2], without unit.

    Parameters
    ----------
    window
        Side of a window [voxels]; odd.
    k1, k2
        :math:`K_i` of the constants that prevent division by zero in constant regions.

    References
    ----------
    Wang, Bovik, Sheikh & Simoncelli, Image Quality Assessment: From Error Visibility to
    Structural Similarity, IEEE Trans. Image Process. 13 (2004) 600-612,
    doi:10.1109/TIP.2003.819861.
    """  # noqa: D400

    window: int = 7
    k1: float = 0.01
    k2: float = 0.03

    def __post_init__(self) -> None:
        if self.window < 3 or self.window % 2 == 0:
            raise ValueError(f"window must be odd and at least 3 [voxels], got {self.window}")
        if self.k1 <= 0 or self.k2 <= 0:
            raise ValueError(f"k1 and k2 must be positive, got {self.k1} and {self.k2}")

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare (B, 1, [Z,] Y, X) with ``target.value``; a scalar without unit."""
        p, t = inside(prediction, target), target.value
        c1, c2 = (self.k1 * RANGE) ** 2, (self.k2 * RANGE) ** 2
        mean_p, mean_t = self._mean(p), self._mean(t)
        var_p = self._mean(p * p) - mean_p * mean_p
        var_t = self._mean(t * t) - mean_t * mean_t
        both = self._mean(p * t) - mean_p * mean_t
        alike = (2 * mean_p * mean_t + c1) * (2 * both + c2)
        size = (mean_p * mean_p + mean_t * mean_t + c1) * (var_p + var_t + c2)
        return weighted_mean(1 - alike / size, target.weight)

    def _mean(self, image: Tensor) -> Tensor:
        half, dims = self.window // 2, image.ndim - 2
        padded = functional.pad(image, [half] * 2 * dims, mode="replicate")
        pool = functional.avg_pool2d if dims == 2 else functional.avg_pool3d
        return pool(padded, self.window, stride=1)
