"""Mutual information of the intensities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.registration.derivatives import Spacing
from tasks.registration.torch_engine.contracts import Featured
from tasks.similarities import SIMILARITIES


@SIMILARITIES.register("mi")
@dataclass(frozen=True)
class MI(Featured):
    r"""Minus the mutual information [nat], :math:`-\sum_{ij} p_{ij} \log (p_{ij} / p_i p_j)`.

    The joint histogram is filled through cubic B-spline windows, hence differentiable. For any
    two modalities; 0 for unrelated images.

    Parameters
    ----------
    bins
        Of each image.
    samples
        Voxels that are looked at, on a regular lattice; at most.

    References
    ----------
    Mattes, Haynor, Vesselle, Lewellen & Eubank, IEEE Trans. Med. Imaging 22 (2003) 120-128.
    """

    bins: int = 32
    samples: int = 50_000

    def __post_init__(self) -> None:
        if self.bins < 6:
            raise ValueError(f"bins must be at least 6, got {self.bins}")
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")

    def features(self, image: Tensor, spacing_mm: Spacing) -> Tensor:
        """Intensities from 0 to 1."""
        low, high = image.min(), image.max()
        return (image - low) / (high - low).clamp(min=torch.finfo(image.dtype).tiny)

    def cost(self, fixed: Tensor, moved: Tensor, weight: Tensor, spacing_mm: Spacing) -> Tensor:
        """Between features (1, 1, Z, Y, X) in [0, 1]; a scalar [nat], at most 0."""
        every = -(-weight.numel() // self.samples)
        w = weight.flatten()[::every]
        a, b = (self._windows(image.flatten()[::every]) for image in (fixed, moved))
        joint = (a * w[:, None]).T @ b
        joint = joint / joint.sum().clamp(min=torch.finfo(joint.dtype).tiny)
        apart = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0, keepdim=True)
        tiny = torch.finfo(joint.dtype).tiny ** 0.5
        return -(joint * torch.log((joint + tiny) / (apart + tiny))).sum()

    def _windows(self, values: Tensor) -> Tensor:
        """Share of each value in each bin, (samples, bins); rows add up to 1."""
        # Two bins a side stay free, so that no window is cut.
        at = 1.5 + values.clamp(0, 1) * (self.bins - 4)
        far = (at[:, None] - torch.arange(self.bins).to(values)).abs()
        near = 2 / 3 - far**2 + far**3 / 2
        outer = (2 - far).clamp(min=0) ** 3 / 6
        return torch.where(far < 1, near, outer)
