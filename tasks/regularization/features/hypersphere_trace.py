"""Hypersphere trace: features along the HU axis envelop the sphere and are evenly spaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Memory, Step
from synthct.tasks.regularization.features.voxel_sampling import VoxelPenalty, VoxelSample, on_grid

SURROGATES, PENDING = "surrogates", "pending"
"""Keys of the memory: unit features by HU bin (zero: never seen), and those of this step."""


@REGULARIZERS.register("hypersphere_trace")
@dataclass(frozen=True)
class HypersphereTrace(VoxelPenalty):
    r"""Enveloping and homogeneity of the curve from HU to unit feature, by a surrogate per HU bin.

    The surrogate :math:`s_k` is the direction of the mean unit feature of all voxels of the body
    whose target is in bin *k*. Bins that a batch lacks keep the surrogate of earlier steps. With
    random unit vectors :math:`v_p` and the angle :math:`\epsilon`, the penalty is

    .. math:: \left\langle \max\!\left(0, \cos\epsilon - \max_k v_p^\top s_k\right) \right\rangle_p
              + \frac{h\,(K - 1)}{n} \sum_k \frac{\|s_{k+1} - s_k\|^2}{\Delta_k}
              - c \left\langle \log \frac{e^{z_i^\top s_{k(i)} / \tau}}
                {\sum_k e^{z_i^\top s_k / \tau}} \right\rangle_i

    over *n* pairs of neighbouring surrogates, :math:`\Delta_k` bins apart. The first term spreads
    the curve over the sphere. The second is least, for a given length, where equal steps in HU are
    equal steps of the feature: a rare tissue gets as much room as a common one. The third ties the
    features *z* of voxels drawn at random to their surrogates. (The paper counts the points of the
    sphere within :math:`\epsilon` of the curve, which has no slope; here a point costs what it is
    beyond that. Its samples are images, here voxels: adaptations.) No unit.

    For synthetic CT: dense bone and air are rare, and plain training squeezes them into a corner
    of the features, where they are regressed to the mean.

    Acts at ``penalty``; the surrogates are updated after the optimizer, at ``project``.

    Parameters
    ----------
    bins
        *K*, number of bins of equal width over the target's range [-1, 1]; at least 3.
    angle_deg
        :math:`\epsilon`, in (0, 90) [degrees].
    homogeneity
        *h*, at least 0.
    contrast
        *c*, at least 0.
    temperature
        :math:`\tau`.
    points
        Number of random unit vectors.
    momentum
        Weight of the earlier surrogate at each update, in [0, 1).
    layer
        Layer whose output is *z*; empty: the last activation before the last convolution.

    References
    ----------
    Dong, Wu, Chen, Zou, Zhang & Zhou, Improve Representation for Imbalanced Regression through
    Geometric Constraints, CVPR 2025, arXiv:2503.00876.
    """

    bins: int = 20
    angle_deg: float = 30.0
    homogeneity: float = 0.1
    contrast: float = 0.1
    temperature: float = 0.1
    points: int = 256
    momentum: float = 0.9

    whole_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bins < 3 or self.points < 1:
            raise ValueError(f"bins must be at least 3 and points 1, got {self.bins, self.points}")
        if not 0 < self.angle_deg < 90:
            raise ValueError(f"angle_deg must be in (0, 90) [degrees], got {self.angle_deg}")
        if min(self.homogeneity, self.contrast) < 0:
            raise ValueError(
                f"homogeneity and contrast must not be negative, got {self.homogeneity} and "
                f"{self.contrast}"
            )
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")

    def cost(self, step: Step, feature: Tensor, voxels: VoxelSample) -> Tensor:
        """The equation above for ``feature`` (B, C, *grid); a scalar without unit."""
        grid = feature.shape[2:]
        target, inside = on_grid(step.batch.target, grid), on_grid(step.batch.mask, grid) > 0.5
        z = functional.normalize(feature.movedim(1, -1)[inside[:, 0]].to(target.dtype), dim=1)
        here, seen = self._centroids(z, self._bin(target[inside]))
        step.memory.setdefault(PENDING, here.detach())  # evaluated again, the first one counts
        known = self._known(step.memory, here)
        surrogates = torch.where(seen[:, None], here, known)
        present = surrogates.detach().norm(dim=1) > 0
        drawn = functional.normalize(voxels.rows(feature).to(target.dtype), dim=1)
        bins = self._bin(voxels.rows(target)[:, 0])
        return self.geometry(surrogates, present, self._directions(step, here)) + (
            self.contrast * self._contrast(drawn, bins, surrogates, present)
        )

    def geometry(self, surrogates: Tensor, present: Tensor, directions: Tensor) -> Tensor:
        """The first two terms for surrogates (K, C) and unit vectors (P, C); a scalar."""
        curve, at = surrogates[present], present.nonzero()[:, 0].to(surrogates.dtype)
        reach = torch.cos(torch.deg2rad(surrogates.new_tensor(self.angle_deg)))
        nearest = (directions @ curve.T).amax(dim=1)
        enveloping = (reach - nearest).clamp(min=0).mean()
        if len(curve) < 2:
            return enveloping
        steps = (curve[1:] - curve[:-1]).square().sum(dim=1) / at.diff()
        return enveloping + self.homogeneity * (self.bins - 1) * steps.mean()

    def project(self, step: Step) -> None:
        """Move the surrogates towards those of this step."""
        if PENDING not in step.memory:
            return
        here = step.memory.pop(PENDING)
        before = self._known(step.memory, here)
        mixed = self.momentum * before + (1 - self.momentum) * here
        kept = torch.where((here.norm(dim=1) > 0)[:, None], mixed, before)
        step.memory[SURROGATES] = functional.normalize(kept, dim=1)

    def _bin(self, target: Tensor) -> Tensor:
        """Bin of each CT number [network units]."""
        return ((target + 1) / 2 * self.bins).long().clamp(0, self.bins - 1)

    def _centroids(self, z: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
        """Directions of the mean features (K, C), and whether there is one (K,); else zero.

        There is none where a bin is empty, or where all its features are 0, as behind a ReLU.
        """
        sums = z.new_zeros(self.bins, z.shape[1]).index_add(0, bins, z)
        here = functional.normalize(sums, dim=1)
        return here, here.detach().norm(dim=1) > 0

    def _known(self, memory: Memory, like: Tensor) -> Tensor:
        found = memory.get(SURROGATES)
        return torch.zeros_like(like) if found is None else found.to(like)

    def _directions(self, step: Step, like: Tensor) -> Tensor:
        drawn = torch.randn(self.points, like.shape[1], generator=step.rng, dtype=torch.float64)
        return functional.normalize(drawn, dim=1).to(like)

    def _contrast(self, z: Tensor, bins: Tensor, surrogates: Tensor, present: Tensor) -> Tensor:
        logits = (z @ surrogates.T / self.temperature).masked_fill(~present, float("-inf"))
        tied = present[bins]
        if not bool(tied.any()):
            return z.new_zeros(())
        return functional.cross_entropy(logits[tied], bins[tied])
