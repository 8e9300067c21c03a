"""Normalised cross-correlation of the whole images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing
from synthct.tasks.registration.contracts import Featured
from synthct.tasks.registration.similarities import SIMILARITIES


@SIMILARITIES.register("ncc")
@dataclass(frozen=True)
class NCC(Featured):
    r"""One minus the weighted correlation, :math:`1 - \mathrm{cov}(f, m) / \sigma_f \sigma_m`.

    0 for one linear function of the other with positive slope, 1 for unrelated images, 2 for
    opposite ones. For scans of one modality; features of several channels count as one vector.
    """

    def features(self, image: Tensor, spacing_mm: Spacing) -> Tensor:
        """The image itself."""
        return image

    def cost(self, fixed: Tensor, moved: Tensor, weight: Tensor, spacing_mm: Spacing) -> Tensor:
        """Between features (1, C, Z, Y, X); a scalar in [0, 2]."""
        a, b = (_centred(image, weight) for image in (fixed, moved))
        product = (weight * a * b).sum()
        scale = torch.sqrt((weight * a**2).sum() * (weight * b**2).sum())
        return 1 - product / scale.clamp(min=torch.finfo(scale.dtype).tiny)


def _centred(image: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
    return image - (weight * image).sum(dim=(2, 3, 4), keepdim=True) / total
