"""Cross-correlation in a window around each voxel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.registration.derivatives import Spacing
from tasks.registration.torch_engine.contracts import Featured
from tasks.registration.torch_engine.separable import separable
from tasks.similarities import SIMILARITIES


@SIMILARITIES.register("lncc")
@dataclass(frozen=True)
class LNCC(Featured):
    r"""One minus the mean squared local correlation, :math:`1 - \overline{c^2 / (v_f v_m)}`.

    Covariance *c* and variances *v* are over a box around each voxel, of the voxels that count.
    Blind to slow shading and to the sign of the contrast. A window without texture in either
    image counts as unlike.

    Parameters
    ----------
    window_mm
        Side of the box [mm]; at least three voxels are taken along each axis.
    noise
        Variance that texture must exceed to count, in units of the image's own variance.

    References
    ----------
    Cachier, Bardinet, Dormont, Pennec & Ayache, Comput. Vis. Image Underst. 89 (2003) 272-298.
    """

    window_mm: float = 20.0
    noise: float = 1e-3

    def __post_init__(self) -> None:
        if self.window_mm <= 0:
            raise ValueError(f"window_mm must be positive [mm], got {self.window_mm}")
        if self.noise <= 0:
            raise ValueError(f"noise must be positive, got {self.noise}")

    def features(self, image: Tensor, spacing_mm: Spacing) -> Tensor:
        """The image itself."""
        return image

    def cost(self, fixed: Tensor, moved: Tensor, weight: Tensor, spacing_mm: Spacing) -> Tensor:
        """Between features (1, C, Z, Y, X) of variance 1; a scalar in [0, 1]."""
        boxes = self._boxes(weight, spacing_mm)

        def local(values: Tensor) -> Tensor:
            return separable(values, boxes)

        inside = local(weight).clamp(min=1e-6)
        a, b = local(weight * fixed) / inside, local(weight * moved) / inside
        variance_a = (local(weight * fixed**2) / inside - a**2).clamp(min=0) + self.noise
        variance_b = (local(weight * moved**2) / inside - b**2).clamp(min=0) + self.noise
        covariance = local(weight * fixed * moved) / inside - a * b
        alike = (covariance**2 / (variance_a * variance_b)).mean(dim=1, keepdim=True)
        return 1 - (weight * alike).sum() / weight.sum().clamp(min=1e-6)

    def _boxes(self, like: Tensor, spacing_mm: Spacing) -> list[Tensor]:
        """For each axis, which voxels lie in the window of which (voxels, voxels)."""
        boxes = []
        for n, step in zip(like.shape[2:], spacing_mm, strict=True):
            radius = max(1, round(self.window_mm / step / 2))
            at = torch.arange(n, device=like.device)
            boxes.append(((at[:, None] - at).abs() <= radius).to(like) / (2 * radius + 1))
        return boxes
