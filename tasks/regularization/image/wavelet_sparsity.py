"""Sparsity of an image in an orthonormal Haar transform, with its exact proximal map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step

ROOT_HALF = 0.5**0.5


@REGULARIZERS.register("wavelet_sparsity")
@dataclass(frozen=True)
class WaveletSparsity(Regularizer):
    r"""Length of the details of an image in a Haar transform, :math:`\|\Theta x\|_1`.

    :math:`\Theta x` are the detail coefficients of an orthonormal Haar transform of ``levels``
    levels along all axes of an image (B, C, [Z,] Y, X). Piecewise constant images have few of them,
    noise has many. As the transform is orthonormal, the proximal map is exact: soft thresholding of
    the details. In training the penalty on the prediction is :math:`\|\Theta x\|_1 / n` for *n*
    voxels, the grid shifted at random in every step: averaged over the steps that is the
    translation-invariant estimate, without block artefacts. Unit: that of the image; in training
    network units.

    For synthetic CT: a prior of reconstructions. On predictions it flattens texture: in the study
    it made the mean error larger, so it is no substitute for a loss.

    Acts at ``penalty``, and at ``image`` for reconstructions.

    Parameters
    ----------
    levels
        Levels of the transform; fewer if the image is not divisible by 2 that often.

    References
    ----------
    Donoho, De-noising by soft-thresholding, IEEE Trans. Inf. Theory 41 (1995) 613-627,
    doi:10.1109/18.382009; Coifman & Donoho, Translation-invariant de-noising, Lecture Notes in
    Statistics 103 (1995) 125-150, doi:10.1007/978-1-4612-2544-7_9.
    """

    levels: int = 3

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError(f"levels must be at least 1, got {self.levels}")

    def penalty(self, step: Step) -> Tensor:
        """Mean over the voxels, inside and outside the body; a scalar [network units]."""
        shifts = torch.randint(1 << self.levels, (3,), generator=step.rng).tolist()
        axes = list(range(2, step.prediction.ndim))
        moved = step.prediction.roll(shifts[: len(axes)], axes)
        return self.image(moved, step.batch.spacing_mm) / moved.numel()

    def image(self, x: Tensor, spacing_mm: tuple[float, float, float]) -> Tensor:
        """Sum over the details of ``x`` (B, C, [Z,] Y, X); a scalar [units of x]."""
        _, details = _analyse(x, self.levels)
        return torch.stack([d.abs().sum() for d in details]).sum()

    def prox(self, x: Tensor, spacing_mm: tuple[float, float, float], step: float) -> Tensor:
        """Details nearer to 0 by ``step``, or 0."""
        coarse, details = _analyse(x, self.levels)
        shrunk = [d.sign() * (d.abs() - step).clamp_min(0) for d in details]
        return _synthesise(coarse, shrunk, x.ndim - 2)


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
