"""Focal L1: voxels with large errors, as at boundaries, pull harder than easy ones."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from synthct.tasks.losses import LOSSES
from synthct.tasks.losses.pointwise import weighted_mean
from synthct.tasks.models.contracts import Target


@LOSSES.register("focal_l1")
@dataclass(frozen=True)
class FocalL1:
    r"""Weighted mean of :math:`\frac{\delta}{1 + \gamma} \left(|e| / \delta\right)^{1 + \gamma}`.

    Its gradient is that of L1 times :math:`(|e| / \delta)^\gamma`, the focal factor of the paper
    (which holds the factor fixed in the backward pass: the same gradient). A voxel with an error
    of :math:`\delta` pulls as hard as under L1, one with a smaller error less. Voxels at boundaries
    have the largest errors, and L1 gives up those that contradict many easy ones. A large
    :math:`\gamma` also follows wrong targets. :math:`\gamma` = 0 is L1 itself, 1 is half the
    squared error over :math:`\delta`. Network units. The paper's other half, targets that are
    signed geodesic distances to a boundary, is for segmentation and is not used.

    Parameters
    ----------
    focus
        :math:`\gamma`, at least 0.
    scale_hu
        :math:`\delta` [HU].

    References
    ----------
    Dang, Nguyen & Tiulpin, SiNGR: Brain Tumor Segmentation via Signed Normalized Geodesic
    Transform Regression, MICCAI 2024, arXiv:2405.16813.
    """

    focus: float = 0.5
    scale_hu: float = 200.0

    def __post_init__(self) -> None:
        if self.focus < 0:
            raise ValueError(f"focus must not be negative, got {self.focus}")
        if self.scale_hu <= 0:
            raise ValueError(f"scale_hu must be positive [HU], got {self.scale_hu}")

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare (B, 1, ..., Y, X) with ``target.value``; a scalar [network units]."""
        delta = 2 * self.scale_hu / (target.scaling.high_hu - target.scaling.low_hu)
        error = (prediction - target.value).abs() / delta
        cost = error ** (1 + self.focus) * (delta / (1 + self.focus))
        return weighted_mean(cost, target.weight)
