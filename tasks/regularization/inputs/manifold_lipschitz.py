"""Manifold Lipschitz: where the output changes faster than a bound, a Laplacian weighs more."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step
from synthct.tasks.regularization.features.voxel_sampling import draw_voxels

MULTIPLIERS, PENDING, COUNTS = "multipliers", "pending", "counts"

NOISE = 0.02
"""Distance of sources [scaled] below which a change of the output is no slope but noise."""


@REGULARIZERS.register("manifold_lipschitz")
@dataclass(frozen=True)
class ManifoldLipschitz(Regularizer):
    r"""Squared slope of the output along the data, with a multiplier for each bin of intensity,

    .. math:: \left\langle \mu_{k(i)} \, \frac{g_i}{S^2} \right\rangle_i, \qquad
              g_i = \frac{\sum_j w_{ij} (f_i - f_j)^2}
                         {\sum_j w_{ij} \big(\|z_i - z_j\|^2 + \sigma^2\big)}, \qquad
              w_{ij} = \exp \frac{-\|z_i - z_j\|^2}{2 h_i^2},

    where :math:`f_i` is the prediction at voxel *i*, :math:`z_i` the source in the window around
    it (distances are root mean squares over the window), :math:`h_i` the distance to its nearest
    neighbours, and *k* the bin of the source intensity. The voxels *j* are of the same patch. The
    slope is measured between windows that occur, not along directions in which no scan lies.
    After each step the multipliers follow the excess over the bound *S*,

    .. math:: \mu_k \leftarrow \max\!\big(0, \; \mu_k + \eta \, (\bar g_k / S^2 - 1)\big),

    (dual ascent; they start at 1), so that the penalty vanishes where the output is smooth and
    grows where it is not. :math:`\sigma = 0.02` keeps noise from counting as a slope. Two
    adaptations: the paper has a multiplier for each sample of a fixed set, but patches are drawn
    anew in each step, so voxels of similar intensity share one; and it bounds the loss and
    minimises the slope, where here the slope is bounded. No unit.

    For synthetic CT: noise or a bias field of the MR must not become a jump in HU, but a uniform
    penalty would also blur the steps at bone; this one acts at the intensities where the slope is
    too large.

    Acts at ``penalty``; the multipliers are updated after the optimizer, at ``project``.

    Parameters
    ----------
    slope
        *S*, the largest slope wanted [network units per unit of the scaled source].
    rate
        :math:`\eta`, by how much a multiplier grows per step where the squared slope is twice its
        bound.
    bins
        Number of bins of equal width over the source's range [-1, 1].
    samples
        Number of voxels drawn, the same in each patch.
    neighbours
        Number of neighbours that the weights :math:`w_{ij}` reach.

    References
    ----------
    Cerviño, Chamon, Haeffele, Vidal & Ribeiro, Learning Globally Smooth Functions on Manifolds,
    ICML 2023, arXiv:2210.00301.
    """  # noqa: D400

    slope: float = 2.0
    rate: float = 0.05
    bins: int = 16
    samples: int = 128
    neighbours: int = 8

    whole_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, least in (("bins", 1), ("samples", 2), ("neighbours", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("slope", "rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def penalty(self, step: Step) -> Tensor:
        """Mean over the voxels drawn inside the body; a scalar."""
        source, mask = step.batch.source, step.batch.mask
        voxels = draw_voxels(mask, mask.shape[2:], self.samples, step.rng)
        windows = _windows(source)[:, :, voxels.at].transpose(1, 2)
        output = step.prediction[:, 0].flatten(1)[:, voxels.at].to(windows.dtype)
        slopes = squared_slopes(windows, output, voxels.inside, self.neighbours)[voxels.inside]
        middle = _centre(source).flatten(1)[:, voxels.at][voxels.inside]
        bins = ((middle + 1) / 2 * self.bins).long().clamp(0, self.bins - 1)
        relative = slopes / self.slope**2
        memory = step.memory
        if PENDING not in memory:  # evaluated again at other weights, the first one counts
            memory[PENDING] = relative.new_zeros(self.bins).index_add(0, bins, relative.detach())
            memory[COUNTS] = torch.bincount(bins, minlength=self.bins).to(relative)
        multipliers = memory.get(MULTIPLIERS, torch.ones(self.bins)).to(relative)
        return (multipliers[bins] * relative).sum() / max(1, len(relative))

    def project(self, step: Step) -> None:
        """Move the multipliers of the bins that were seen by the excess of their slope."""
        memory = step.memory
        if PENDING not in memory:
            return
        sums, counts = memory.pop(PENDING), memory.pop(COUNTS)
        before = memory.get(MULTIPLIERS, torch.ones_like(sums)).to(sums)
        moved = before + self.rate * (sums / counts.clamp(min=1) - 1)
        memory[MULTIPLIERS] = torch.where(counts > 0, moved.clamp(min=0), before)


def squared_slopes(windows: Tensor, output: Tensor, inside: Tensor, neighbours: int) -> Tensor:
    """Squared slope of the output at each voxel, between windows of the same patch; (B, P).

    Parameters
    ----------
    windows
        (B, P, D), the source around each voxel.
    output
        (B, P), the prediction at each voxel.
    inside
        (B, P) bool; the others are no neighbours.
    """
    if windows.shape[1] < 2:
        return torch.zeros_like(output)
    apart = torch.cdist(windows, windows, compute_mode="donot_use_mm_for_euclid_dist").square()
    apart = apart / windows.shape[2]
    alone = torch.eye(apart.shape[1], dtype=torch.bool, device=apart.device)
    other = inside[:, None, :] & ~alone
    reach = apart.masked_fill(~other, torch.inf)
    count = min(neighbours, apart.shape[1] - 1)
    width = reach.topk(count, dim=2, largest=False).values
    width = width.masked_fill(width.isinf(), 0).amax(dim=2, keepdim=True).clamp(min=NOISE**2)
    weights = torch.exp(-apart / (2 * width)) * other
    change = (output[:, :, None] - output[:, None, :]).square()
    far = (weights * (apart + NOISE**2)).sum(dim=2)
    return (weights * change).sum(dim=2) / far.clamp(min=1e-12)


def _windows(source: Tensor) -> Tensor:
    """The source in the 3 x 3 (x 3) window around each voxel, (B, C * window, voxels)."""
    axes = source.ndim - 2
    padded = functional.pad(source.detach(), [1] * (2 * axes), mode="replicate")
    whole = (slice(None), slice(None))
    shifted = []
    for at in product(range(3), repeat=axes):
        within = [slice(o, o + n) for o, n in zip(at, source.shape[2:], strict=True)]
        shifted.append(padded[(*whole, *within)])
    windows = torch.cat(shifted, dim=1).flatten(2)
    return windows.float() if windows.dtype in (torch.bfloat16, torch.float16) else windows


def _centre(source: Tensor) -> Tensor:
    """The slice of the source that is predicted, (B, [Z,] Y, X)."""
    return source.detach()[:, source.shape[1] // 2]
