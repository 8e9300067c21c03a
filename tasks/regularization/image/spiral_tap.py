"""The penalties of SPIRAL-TAP: images are sparse in wavelets or in their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step
from synthct.tasks.regularization.displacement.total_variation import rounded_root

ROOT_HALF = 0.5**0.5


@REGULARIZERS.register("spiral_tap")
@dataclass(frozen=True)
class SpiralTap(Regularizer):
    r"""Sparsity of the prediction, for use with a Poisson likelihood, :math:`\|\Theta p\|_1 / n`.

    With ``wavelets`` :math:`\Theta` are the detail coefficients of an orthonormal Haar
    transform of ``levels`` levels, its grid shifted at random in every step: averaged over the
    steps that is the translation-invariant estimate over dyadic partitions, without block
    artefacts. With ``total_variation`` it is the rounded length of the forward differences along
    the axes of the patch. *n* is the number of voxels. The likelihood is the loss ``poisson``,
    which keeps counts nonnegative. For an image ``x`` (B, C, [Z,] Y, X) the value is the same
    without shift, and for wavelets the proximal map is exact: soft thresholding of the details.
    Unit: network units; for an image those of the image.

    For synthetic CT: cone-beam projections with few photons, whose noise a network trained on
    noisy targets would otherwise reproduce.

    Acts at ``penalty``, and at ``image`` for reconstructions.

    Parameters
    ----------
    form
        ``wavelets`` or ``total_variation``.
    levels
        Levels of the Haar transform; fewer if the patch is not divisible that often.
    epsilon
        Rounding of the absolute value at zero [network units]; not used by the proximal map.

    References
    ----------
    Harmany, Marcia & Willett, This is SPIRAL-TAP: Sparse Poisson Intensity Reconstruction
    ALgorithms - Theory and Practice, IEEE Trans. Image Process. 21 (2012) 1084-1096,
    doi:10.1109/TIP.2011.2168410, arXiv:1005.4274.
    """

    form: Literal["wavelets", "total_variation"] = "wavelets"
    levels: int = 3
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        if self.form not in ("wavelets", "total_variation"):
            raise ValueError(f"form must be wavelets or total_variation, got {self.form!r}")
        if self.levels < 1:
            raise ValueError(f"levels must be at least 1, got {self.levels}")
        if self.epsilon <= 0:
            raise ValueError(f"epsilon must be positive, got {self.epsilon}")

    def penalty(self, step: Step) -> Tensor:
        """The penalty on the prediction, inside and outside the body; a scalar [network units]."""
        shifts = torch.randint(1 << self.levels, (3,), generator=step.rng).tolist()
        axes = list(range(2, step.prediction.ndim))
        moved = step.prediction.roll(shifts[: len(axes)], axes)
        return self.image(moved, step.batch.spacing_mm)

    def image(self, x: Tensor, spacing_mm: tuple[float, float, float]) -> Tensor:
        """Mean over the voxels of ``x`` (B, C, [Z,] Y, X); a scalar [units of x]."""
        if self.form == "total_variation":
            steps = [_difference(x, axis).square() for axis in range(2, x.ndim)]
            return rounded_root(torch.stack(steps).sum(dim=0), self.epsilon).mean()
        _, details = _analyse(x, self.levels)
        return torch.stack([_rounded(d, self.epsilon).sum() for d in details]).sum() / x.numel()

    def prox(self, x: Tensor, spacing_mm: tuple[float, float, float], step: float) -> Tensor:
        """``argmin_v |v - x|^2 / 2 + step * |details of v|_1``; for wavelets only."""
        if self.form != "wavelets":
            raise ValueError("the proximal map of total_variation has no closed form")
        coarse, details = _analyse(x, self.levels)
        shrunk = [d.sign() * (d.abs() - step).clamp_min(0) for d in details]
        return _synthesise(coarse, shrunk, x.ndim - 2)


def _rounded(values: Tensor, epsilon: float) -> Tensor:
    return rounded_root(values.square(), epsilon)


def _difference(x: Tensor, axis: int) -> Tensor:
    """Forward difference, 0 at the last voxel."""
    length = x.shape[axis]
    ahead = torch.cat([x.narrow(axis, 1, length - 1), x.narrow(axis, length - 1, 1)], dim=axis)
    return ahead - x


def _analyse(x: Tensor, levels: int) -> tuple[Tensor, list[Tensor]]:
    """Coarse part and details, finest first: 2^axes - 1 of them per level."""
    details: list[Tensor] = []
    for _ in range(levels):
        if any(length % 2 or length < 2 for length in x.shape[2:]):
            break
        bands = [x]
        for axis in range(2, x.ndim):
            bands = [half for band in bands for half in _halves(band, axis)]
        x, *finer = bands
        details += finer
    if not details:
        details = [x.new_zeros(1)]
    return x, details


def _halves(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Sums and differences of neighbours along an axis, orthonormal."""
    even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
    return (even + odd) * ROOT_HALF, (even - odd) * ROOT_HALF


def _synthesise(coarse: Tensor, details: list[Tensor], axes: int) -> Tensor:
    """The inverse of :func:`_analyse`."""
    each = (1 << axes) - 1
    for first in range(len(details) - each, -1, -each):
        bands = [coarse, *details[first : first + each]]
        for axis in range(axes + 1, 1, -1):
            pairs = zip(bands[::2], bands[1::2], strict=True)
            bands = [_joined(low, high, axis) for low, high in pairs]
        (coarse,) = bands
    return coarse


def _joined(low: Tensor, high: Tensor, axis: int) -> Tensor:
    even, odd = (low + high) * ROOT_HALF, (low - high) * ROOT_HALF
    return torch.stack([even, odd], dim=axis + 1).flatten(axis, axis + 1)
