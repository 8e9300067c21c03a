"""Poisson likelihood: errors relative to the variance of photon counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.losses import LOSSES
from synthct.tasks.losses.pointwise import as_hu, weighted_mean
from synthct.tasks.models.contracts import Target


@LOSSES.register("poisson")
@dataclass(frozen=True)
class Poisson:
    r"""Poisson deviance per photon count, :math:`\frac{1}{n}\,\overline{\lambda_p - \lambda_t +
    \lambda_t \log(\lambda_t / \lambda_p)}`,

    the negative log-likelihood of the target's counts given the predicted rate, minus its
    minimum. A rate is :math:`\lambda = n\,(\mathrm{HU} - \mathrm{low}) / 1000 + \beta`: *n*
    counts in a voxel of water, none at ``low_hu``, and the background :math:`\beta`. As the
    variance grows with the rate, the same error costs more in lung and air than in bone. Below
    zero counts the likelihood is extended by its tangent, so that it is defined everywhere and
    pulls negative rates to zero; the paper constrains rates to be nonnegative. The penalties of
    the paper are the regularizer ``spiral_tap``. Unit: the count of water.

    Parameters
    ----------
    counts
        *n*: photons per voxel of water [1].
    background
        :math:`\beta`: background counts per voxel [1].

    References
    ----------
    Harmany, Marcia & Willett, This is SPIRAL-TAP: Sparse Poisson Intensity Reconstruction
    ALgorithms - Theory and Practice, IEEE Trans. Image Process. 21 (2012) 1084-1096,
    doi:10.1109/TIP.2011.2168410, arXiv:1005.4274.
    """  # noqa: D205, D400

    counts: float = 100.0
    background: float = 1.0

    def __post_init__(self) -> None:
        for name in ("counts", "background"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare (B, 1, ..., Y, X) with ``target.value``; a scalar [count of water]."""
        p, t = self._counts(prediction, target), self._counts(target.value, target)
        t = t.clamp(min=0)
        positive = p.clamp(min=0)
        predicted, true = positive + self.background, t + self.background
        deviance = positive - t + true * torch.log(true / predicted)
        below = (p - positive) * (1 - true / self.background)
        return weighted_mean(deviance + below, target.weight) / self.counts

    def _counts(self, values: Tensor, target: Target) -> Tensor:
        """Counts without the background."""
        return self.counts * (as_hu(values, target) - target.scaling.low_hu) / 1000
