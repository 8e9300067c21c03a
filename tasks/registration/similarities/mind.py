"""Self-similarity descriptors: intensity differences within each voxel's neighbourhood."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.fields.derivatives import Spacing
from synthct.tasks.registration.contracts import Featured
from synthct.tasks.registration.similarities import SIMILARITIES

NEIGHBOURS = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
PAIRS = tuple(
    (a, b)
    for a, b in combinations(NEIGHBOURS, 2)
    if sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) == 2
)
"""The twelve pairs of neighbours at a squared distance of 2; opposite pairs are excluded."""

VARIANCE_LIMITS = (0.001, 1000.0)
"""Bounds of the local variance, relative to its mean over the image [1]."""


@SIMILARITIES.register("mind")
@dataclass(frozen=True)
class Mind(Featured):
    r"""Mean squared difference of MIND-SSC descriptors with twelve channels per voxel,

    .. math:: \exp(-(D_c - \min_c D_c) / V), \qquad D_c = \text{box mean of } (I_a - I_b)^2

    over the pairs (a, b) of the six neighbours; V is the mean of the exponent's numerator over
    the channels. Independent of contrast, hence of modality.

    Parameters
    ----------
    radius
        Radius of the box [voxels of the level].
    dilation
        Distance of the neighbours from the voxel [voxels of the level].

    References
    ----------
    Heinrich, Jenkinson, Papiez, Brady & Schnabel, MICCAI 2013, 187-194.
    """  # noqa: D400

    one_by_one: ClassVar[bool] = True

    radius: int = 1
    dilation: int = 2

    def __post_init__(self) -> None:
        if self.radius < 0:
            raise ValueError(f"radius must be at least 0 [voxels], got {self.radius}")
        if self.dilation < 1:
            raise ValueError(f"dilation must be at least 1 [voxels], got {self.dilation}")

    def features(self, image: Tensor, spacing_mm: Spacing) -> Tensor:
        """Descriptors (1, 12, Z, Y, X) in (0, 1] of an image (1, 1, Z, Y, X); no gradient.

        Computed in place: for a large scan, twelve channels do not fit into memory twice.
        """
        with torch.no_grad():
            maps = image.new_empty((1, len(PAIRS), *image.shape[2:]))
            for row, (a, b) in enumerate(PAIRS):
                maps[:, row : row + 1] = self._unlike(image, a, b)
            maps -= maps.amin(dim=1, keepdim=True)
            variance = maps.mean(dim=1, keepdim=True)
            low, high = (limit * variance.mean() for limit in VARIANCE_LIMITS)
            tiny = torch.finfo(image.dtype).tiny
            return maps.neg_().div_(variance.clamp(low, high).clamp(min=tiny)).exp_()

    def cost(self, fixed: Tensor, moved: Tensor, weight: Tensor, spacing_mm: Spacing) -> Tensor:
        """Cost between descriptors (1, 12, Z, Y, X); a scalar in [0, 1]."""
        unlike: Tensor = _MeanSquare.apply(fixed, moved)  # type: ignore[no-untyped-call]
        return (weight * unlike).sum() / weight.sum().clamp(min=1e-6)

    def _unlike(self, image: Tensor, a: tuple[int, ...], b: tuple[int, ...]) -> Tensor:
        squared = (self._shifted(image, a) - self._shifted(image, b)) ** 2
        padded = functional.pad(squared, [self.radius] * 6, mode="replicate")
        return functional.avg_pool3d(padded, 2 * self.radius + 1, stride=1)

    def _shifted(self, image: Tensor, by: tuple[int, ...]) -> Tensor:
        """The image shifted by ``by`` times the dilation; border values are replicated."""
        d = self.dilation
        padded = functional.pad(image, [d] * 6, mode="replicate")
        for axis, (step, length) in enumerate(zip(by, image.shape[2:], strict=True), start=2):
            padded = padded.narrow(axis, d + step * d, length)
        return padded


class _MeanSquare(torch.autograd.Function):
    """Channel mean of the squared difference, with its gradient with respect to the moved image.

    Automatic differentiation would hold five maps of all channels at once; this holds two.
    """

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, moved: Tensor) -> Tensor:
        difference = fixed - moved
        ctx.save_for_backward(difference)
        return difference.square().mean(dim=1, keepdim=True)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[None, Tensor]:
        (difference,) = ctx.saved_tensors
        slope = 2 * difference
        return None, slope.mul_(outer / slope.shape[1]).neg_()
