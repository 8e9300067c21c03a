"""Information bottleneck for regression, by the Cauchy-Schwarz divergence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step
from synthct.tasks.regularization.features.voxel_sampling import VoxelPenalty, VoxelSample, on_grid

TINY = 1e-8
"""Keeps widths and logarithms finite when all samples are equal."""


@REGULARIZERS.register("cauchy_schwarz_bottleneck")
@dataclass(frozen=True)
class CauchySchwarzBottleneck(VoxelPenalty):
    r"""Prediction plus compression, :math:`D_{CS}(y; \hat y | x) + \beta I_{CS}(x; t)`.

    Over *N* voxels with source values *x* (slices as components), features *t*, target *y* and
    prediction :math:`\hat y`, with Gaussian Gram matrices *K* of *x*, *Q* of *t*, *L* of *y*,
    *M* of :math:`\hat y` and *C* between *y* and :math:`\hat y`,

    .. math:: D_{CS} = \log\sum_j \frac{(KL)_j}{k_j^2} + \log\sum_j \frac{(KM)_j}{k_j^2}
              - 2\log\sum_j \frac{(KC)_j}{k_j^2},
              \qquad (KL)_j = \sum_i K_{ji}L_{ji},\ k_j = \sum_i K_{ji},

    .. math:: I_{CS} = \log\frac{\sum K_{ij}Q_{ij}}{N^2} + \log\frac{\sum K_{ij}\sum Q_{ij}}{N^4}
              - 2\log\frac{\sum_i (\sum_j K_{ij})(\sum_j Q_{ij})}{N^3}.

    Both are at least 0; the first is 0 if the prediction equals the target, the second if the
    features do not depend on the source. In the paper they replace the squared error; together
    with L1 the first is a second data term. Kernel widths are ``width`` times the root mean
    squared distance of the samples (of *y* for :math:`\hat y` too), so that shrinking the features
    does not count as compression. An adaptation: voxels of a batch are used as if they were
    independent samples. No unit.

    For synthetic CT: features should not encode properties of the scanner that do not help to
    predict the CT.

    Acts at ``penalty``.

    Parameters
    ----------
    compression
        :math:`\beta`, weight of the compression relative to the prediction.
    layer
        Layer whose output is *t*; empty: the last activation before the last convolution, which
        no skip connection bypasses.
    width
        Width of all kernels, in root mean squared distances.

    References
    ----------
    Yu, Yu, Løkse, Jenssen & Príncipe, Cauchy-Schwarz Divergence Information Bottleneck for
    Regression, ICLR 2024, arXiv:2404.17951.
    """

    compression: float = 0.1
    width: float = 0.5

    def __post_init__(self) -> None:
        if self.compression < 0:
            raise ValueError(f"compression must not be negative, got {self.compression}")
        super().__post_init__()
        if self.width <= 0:
            raise ValueError(f"width must be positive, got {self.width}")

    def cost(self, step: Step, feature: Tensor, voxels: VoxelSample) -> Tensor:
        """Divergence plus weighted information; a scalar without unit."""
        x, y, predicted = (
            voxels.rows(on_grid(values, feature.shape[2:]))
            for values in (step.batch.source, step.batch.target, step.prediction)
        )
        k, q = self._gram(x), self._gram(voxels.rows(feature))
        return self._divergence(k, y, predicted) + self.compression * information(k, q)

    def _divergence(self, k: Tensor, y: Tensor, predicted: Tensor) -> Tensor:
        scale = self._scale(y)
        grams = [gram(a, b, scale) for a, b in ((y, y), (predicted, predicted), (y, predicted))]
        return divergence(k, *grams)

    def _gram(self, samples: Tensor) -> Tensor:
        return gram(samples, samples, self._scale(samples))

    def _scale(self, samples: Tensor) -> Tensor:
        return self.width**2 * squared_distances(samples, samples).mean() + TINY


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances between the rows of (N, C) and (M, C); (N, M)."""
    apart = (a**2).sum(dim=1)[:, None] + (b**2).sum(dim=1)[None] - 2 * a @ b.T
    return apart.clamp(min=0)


def gram(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """Gaussian kernel with the squared width ``scale``; (N, M)."""
    return torch.exp(-squared_distances(a, b) / (2 * scale))


def information(k: Tensor, q: Tensor) -> Tensor:
    """Quadratic mutual information :math:`I_{CS}` of two Gram matrices (N, N); a scalar."""
    joint, product = (k * q).mean(), k.mean() * q.mean()
    crossed = (k.mean(dim=1) * q.mean(dim=1)).mean()
    return joint.log() + product.log() - 2 * crossed.log()


def divergence(k: Tensor, own: Tensor, other: Tensor, between: Tensor) -> Tensor:
    """Conditional divergence :math:`D_{CS}` given *x* with the Gram matrix ``k``; a scalar."""
    weight = k / k.sum(dim=1, keepdim=True).square()
    terms = [((weight * m).sum() + TINY).log() for m in (own, other, between)]
    return terms[0] + terms[1] - 2 * terms[2]
