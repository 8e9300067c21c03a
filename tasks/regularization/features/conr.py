"""ConR: contrast between features of voxels with similar predictions but different HU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step
from synthct.tasks.regularization.features.voxel_sampling import VoxelPenalty, VoxelSample, on_grid


@REGULARIZERS.register("conr")
@dataclass(frozen=True)
class ConR(VoxelPenalty):
    r"""Contrastive penalty where predictions are similar and targets are not, weighted by rarity.

    Of *N* voxels with unit features *z*, targets *y* and predictions :math:`\hat y`, those with
    :math:`|y_i - y_j| < \omega` are positives of *j*, :math:`P_j`; those with
    :math:`|y_i - y_j| \ge \omega` but :math:`|\hat y_i - \hat y_j| < \omega` are confused with it,
    :math:`Q_j`. Voxels that are confused with at least one other contribute

    .. math:: -\frac1N \sum_{j:\,Q_j \ne \emptyset} \log
              \frac{\sum_{i \in P_j} e^{z_j \cdot z_i / \tau}}
              {\sum_{i \in P_j} e^{z_j \cdot z_i / \tau}
               + \sum_{i \in Q_j} \eta_j |y_j - y_i|\, e^{z_j \cdot z_i / \tau}},

    with :math:`\eta_j` the inverse density of the target :math:`y_j` among the voxels (Gaussian
    kernel of width :math:`\omega`), normalised to mean 1: rare targets have the largest weight,
    and it grows with the difference of the targets. An adaptation from one label per image to
    dense regression: the samples are voxels of the batch, a voxel is its own positive, and there
    is no second augmented view. The number of positives in the paper's denominator only shifts
    the value and is omitted. No unit.

    For synthetic CT: dense bone and air are rare compared with soft tissue, and tend to be
    regressed to the mean.

    Acts at ``penalty``.

    Parameters
    ----------
    similar
        :math:`\omega` [network units]: targets that differ by less are positives; 0.1 is about
        200 HU when CT is scaled from [-1024, 3071] HU.
    temperature
        :math:`\tau`.
    layer
        Layer whose output is *z*; empty: the last activation before the last convolution.

    References
    ----------
    Keramati, Meng & Evans, ConR: Contrastive Regularizer for Deep Imbalanced Regression, ICLR
    2024, arXiv:2309.06651.
    """

    similar: float = 0.1
    temperature: float = 0.2

    def __post_init__(self) -> None:
        if self.similar <= 0:
            raise ValueError(f"similar must be positive, got {self.similar}")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        super().__post_init__()

    def cost(self, step: Step, feature: Tensor, voxels: VoxelSample) -> Tensor:
        """Mean over the voxels; a scalar without unit."""
        target, predicted = (
            voxels.rows(on_grid(values, feature.shape[2:]))[:, 0]
            for values in (step.batch.target, step.prediction)
        )
        z = functional.normalize(voxels.rows(feature), dim=1)
        return self.contrast(z, target, predicted.detach())

    def contrast(self, z: Tensor, target: Tensor, predicted: Tensor) -> Tensor:
        """The equation above: unit features (N, C), targets (N,), predictions (N,); a scalar."""
        apart = (target[:, None] - target[None]).abs()
        partners = apart < self.similar
        confused = ~partners & ((predicted[:, None] - predicted[None]).abs() < self.similar)
        density = torch.exp(-((apart / self.similar) ** 2) / 2).mean(dim=1)
        push = (1 / density) / (1 / density).mean()
        near = torch.exp(z @ z.T / self.temperature)
        pull = (near * partners).sum(dim=1)
        pushed = (near * confused * push[:, None] * apart).sum(dim=1)
        return torch.log1p(pushed / pull).mean()
