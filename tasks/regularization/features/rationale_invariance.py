"""Rationale invariance: each HU is reached by the same contributions of the last layer's inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthct.data.errors import UsageError
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step
from synthct.tasks.regularization.features.voxel_sampling import VoxelPenalty, VoxelSample, on_grid

MEANS, KNOWN, PENDING, COUNTS = "means", "known", "pending", "counts"
"""Keys of the memory: mean contributions by HU bin and whether there are any, and the sums and
counts of this step."""


@REGULARIZERS.register("rationale_invariance")
@dataclass(frozen=True)
class RationaleInvariance(VoxelPenalty):
    r"""Squared distance of contributions to the output from their running mean in the HU bin,

    .. math:: \left\langle \sum_c (r_{i,c} - \bar r_{k(i),c})^2 \right\rangle_i, \qquad
              r_{i,c} = (w_c * z_c)_i,

    with the channels :math:`z_c` of the last convolution's input, its weights :math:`w_c`, and the
    bin *k* of the target of voxel *i*. The sum of the contributions :math:`r_{i,c}` over the
    channels is the output before its bias and tanh. A channel whose contribution varies among
    voxels of equal HU is a clue that holds in some scans and not in others; one that does not vary
    holds everywhere. (The paper's samples are images with a class; here they are voxels of the
    body, drawn at random, with a bin: an adaptation.) Network units squared, before the tanh.

    For synthetic CT: scanners and coils that are not among those of training.

    Acts at ``penalty``, once a bin has a mean; the means are updated after the optimizer, at
    ``project``.

    Parameters
    ----------
    bins
        Number of bins of equal width over the target's range [-1, 1].
    momentum
        Weight of the earlier mean at each update, in [0, 1).
    samples
        Number of voxels drawn.
    layer
        Layer whose output is *z*; empty: the last activation before the last convolution.

    References
    ----------
    Chen, Zhang, Song, van den Hengel & Liu, Domain Generalization via Rationale Invariance, ICCV
    2023, arXiv:2308.11158.
    """  # noqa: D400

    bins: int = 20
    momentum: float = 0.9

    whole_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bins < 1:
            raise ValueError(f"bins must be at least 1, got {self.bins}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")

    def cost(self, step: Step, feature: Tensor, voxels: VoxelSample) -> Tensor:
        """Mean over the voxels of bins that have a mean; a scalar."""
        rows = voxels.rows(contributions(step.model, feature))
        target = voxels.rows(on_grid(step.batch.target, feature.shape[2:]))[:, 0]
        bins = ((target + 1) / 2 * self.bins).long().clamp(0, self.bins - 1)
        sums = rows.new_zeros(self.bins, rows.shape[1]).index_add(0, bins, rows.detach())
        if PENDING not in step.memory:  # evaluated again at other weights, the first one counts
            step.memory[PENDING] = sums
            step.memory[COUNTS] = torch.bincount(bins, minlength=self.bins).to(sums)
        if MEANS not in step.memory:
            return rows.new_zeros(())
        means, known = step.memory[MEANS].to(rows), step.memory[KNOWN].to(rows)[bins]
        apart = (rows - means[bins]).square().sum(dim=1) * known
        return apart.sum() / known.sum().clamp(min=1)

    def project(self, step: Step) -> None:
        """Move the means towards those of this step."""
        memory = step.memory
        if PENDING not in memory:
            return
        sums, counts = memory.pop(PENDING), memory.pop(COUNTS)
        here, seen = sums / counts.clamp(min=1)[:, None], counts > 0
        known = memory.get(KNOWN, torch.zeros_like(counts)).to(counts) > 0
        means = memory.get(MEANS, here).to(here)
        keep = torch.where(known, self.momentum, 0.0).to(here)[:, None]
        memory[MEANS] = torch.where(seen[:, None], keep * means + (1 - keep) * here, means)
        memory[KNOWN] = (known | seen).to(here)


def contributions(model: nn.Module, feature: Tensor) -> Tensor:
    """What each channel of the last convolution's input adds to its output; (B, C, *grid).

    Without channels of their own for other outputs: the first output of the network.
    """
    head = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)][-1]
    flat = isinstance(head, nn.Conv2d)
    convolve = functional.conv2d if flat else functional.conv3d
    padding = [size // 2 for size in head.kernel_size]
    weight = head.weight[:1].transpose(0, 1)
    channels = feature.shape[1]
    if channels != len(weight):
        raise UsageError(
            f"the layer has {channels} channels and the last convolution takes {len(weight)}",
            where="rationale_invariance.layer",
            rule="the layer is what the last convolution reads",
            remedy="leave `layer` empty",
        )
    # A feature of a run in bfloat16 is at half the precision of the weights.
    each: Tensor = convolve(
        feature.to(weight.dtype), weight, padding=padding, groups=feature.shape[1]
    )
    return each
