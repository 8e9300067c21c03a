"""Normalised cross-correlation, global and in a local window around each voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing
from synthct.tasks.fields.separable import box_means
from synthct.tasks.registration.contracts import Featured
from synthct.tasks.registration.similarities import SIMILARITIES


@SIMILARITIES.register("ncc")
@dataclass(frozen=True)
class NCC(Featured):
    r"""One minus the weighted correlation, :math:`1 - \mathrm{cov}(f, m) / \sigma_f \sigma_m`.

    0 if one image is a linear function of the other with positive slope, 1 for uncorrelated
    images, 2 for negative slope. For scans of one modality; multi-channel features count as one
    vector.
    """

    def features(self, image: Tensor, spacing_mm: Spacing) -> Tensor:
        """The image itself."""
        return image

    def cost(self, fixed: Tensor, moved: Tensor, weight: Tensor, spacing_mm: Spacing) -> Tensor:
        """Cost between features (1, C, Z, Y, X); a scalar in [0, 2]."""
        a, b = (_centred(image, weight) for image in (fixed, moved))
        product = (weight * a * b).sum()
        scale = torch.sqrt((weight * a**2).sum() * (weight * b**2).sum())
        return 1 - product / scale.clamp(min=torch.finfo(scale.dtype).tiny)


def _centred(image: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
    return image - (weight * image).sum(dim=(2, 3, 4), keepdim=True) / total


@SIMILARITIES.register("lncc")
@dataclass(frozen=True)
class LNCC(Featured):
    r"""One minus the mean squared local correlation, :math:`1 - \overline{c^2 / (v_f v_m)}`.

    Covariance *c* and variances *v* are weighted, over a box around each voxel. Insensitive to
    slowly varying shading and to the sign of the contrast. A window without texture in either
    image counts as dissimilar.

    Parameters
    ----------
    window_mm
        Side length of the box [mm]; at least three voxels along each axis.
    noise
        Variance that texture must exceed to count, relative to the image's variance.

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
        """Cost between features (1, C, Z, Y, X) of variance 1; a scalar in [0, 1]."""
        alike: Tensor = _Correlation.apply(  # type: ignore[no-untyped-call]
            fixed, moved, weight, self._radii(spacing_mm), self.noise
        )
        return 1 - alike

    def _radii(self, spacing_mm: Spacing) -> list[int]:
        return [max(1, round(self.window_mm / step / 2)) for step in spacing_mm]


class _Correlation(torch.autograd.Function):
    """Weighted mean of :math:`c^2 / (v_f v_m)`, with its gradient in closed form.

    The gradient with respect to the moved image needs three more filters; automatic
    differentiation would repeat all of them and store every intermediate map.
    """

    @staticmethod
    def forward(
        ctx: Any, fixed: Tensor, moved: Tensor, weight: Tensor, radii: list[int], noise: float
    ) -> Tensor:
        channels, total = fixed.shape[1], weight.sum().clamp(min=1e-6)
        wf, wm = weight * fixed, weight * moved
        stack = torch.cat([weight, wf, wm, wf * fixed, wm * moved, wf * moved], dim=1)
        inside, a, b, aa, bb, ab = box_means(stack, radii).split([1, *[channels] * 5], dim=1)
        inside = inside.clamp(min=1e-6)
        a, b = a / inside, b / inside
        variance_a = (aa / inside - a**2).clamp(min=0) + noise
        variance_b = (bb / inside - b**2).clamp(min=0) + noise
        covariance = ab / inside - a * b
        ratio = covariance / (variance_a * variance_b)
        share = weight / (inside * total * channels)
        by_covariance = 2 * ratio * share
        by_variance = -ratio * covariance / variance_b * share * (variance_b > noise)
        ctx.save_for_backward(
            fixed,
            moved,
            weight,
            by_covariance,
            by_variance,
            a * by_covariance + 2 * b * by_variance,
        )
        ctx.radii = radii
        mean: Tensor = (weight * ratio * covariance).sum() / (total * channels)
        return mean

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        fixed, moved, weight, *maps = ctx.saved_tensors
        channels = fixed.shape[1]
        c, v, rest = box_means(torch.cat(maps, dim=1), ctx.radii).split(channels, dim=1)
        slope: Tensor = outer * weight * (fixed * c + 2 * moved * v - rest)
        return None, slope, None, None, None
