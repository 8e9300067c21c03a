"""Diffusion: neighbouring points move alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, edges
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("diffusion")
@dataclass(frozen=True)
class Diffusion(Regularizer):
    r"""Mean squared gradient of the displacement, :math:`\sum_{ij} (\partial_j u_i)^2`.

    Each axis is averaged over its own differences between neighbours. Unit: (mm/mm)^2. Zero on
    a translation, :math:`4(1-\cos\theta)` on a rotation: halving a small angle divides it by 4.
    ``tissue`` is not used.

    For synthetic CT: the cheapest smoothness for aligning MR or CBCT with CT; it punishes
    rotations and sharp steps (sliding lungs) as it does noise.

    Acts at ``displacement``.

    References
    ----------
    Fischer & Modersitzki, Fast diffusion registration, Contemp. Math. 313 (2002) 117-129.
    """

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [1]."""
        means = [edges(u, axis, spacing_mm).square().mean() for axis in range(3)]
        return 3 * torch.stack(means).sum()
