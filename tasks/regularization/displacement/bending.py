"""Bending energy: an affine motion is free, curving it costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, second
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer

PAIRS = ((0, 0, 1), (1, 1, 1), (2, 2, 1), (0, 1, 2), (0, 2, 2), (1, 2, 2))
"""Axes of the second derivatives, and how often each stands in the symmetric matrix."""


@REGULARIZERS.register("bending")
@dataclass(frozen=True)
class Bending(Regularizer):
    r"""Mean bending energy of the displacement, over its components

    .. math:: u_{zz}^2 + u_{yy}^2 + u_{xx}^2 + 2\,(u_{zy}^2 + u_{zx}^2 + u_{yx}^2).

    Each term is averaged over the places where its difference fits into the grid: along one axis
    (1, -2, 1), along two the four corners of a face. Unit: 1/mm^2. Zero on every affine map, so
    turning and scaling are free. ``tissue`` is not used.

    For synthetic CT: the penalty of the SynthRAD B-spline presets (weight 10 to 50 there).

    Acts at ``displacement``.

    References
    ----------
    Rueckert, Sonoda, Hayes, Hill, Leach & Hawkes, Nonrigid registration using free-form
    deformations, IEEE Trans. Med. Imaging 18 (1999) 712-721.
    """  # noqa: D400

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [1/mm^2]."""
        terms = [times * second(u, a, b, spacing_mm).square().mean() for a, b, times in PAIRS]
        return 3 * torch.stack(terms).sum()
