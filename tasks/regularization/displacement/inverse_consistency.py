"""Inverse consistency: a displacement followed by its inverse is the identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, cells, gradient
from synthct.tasks.fields.warping import round_trip
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


@REGULARIZERS.register("inverse_consistency")
@dataclass(frozen=True)
class InverseConsistency(Regularizer):
    r"""Mean squared error of a round trip, :math:`|u(x) + v(x + u(x))|^2`.

    *u* maps the fixed to the moving image, *v*, the ``inverse``, the moving to the fixed one,
    both on one grid; *v* is read linearly, and points that leave the grid do not count. Penalise
    the other way round too by swapping the two. Unit: mm^2. ``tissue`` is not used.

    For synthetic CT: CT to MR and MR to CT must agree, else a score depends on which was fixed.

    Acts at ``displacement``; needs a second field.

    References
    ----------
    Christensen & Johnson, Consistent image registration, IEEE Trans. Med. Imaging 20 (2001)
    568-582.
    """

    needs_inverse: ClassVar[bool] = True

    def displacement(
        self,
        u: Tensor,
        spacing_mm: Spacing,
        tissue: Tensor | None = None,
        inverse: Tensor | None = None,
    ) -> Tensor:
        """Penalise ``u`` and ``inverse``, both (B, 3, Z, Y, X) [mm]; a scalar [mm^2]."""
        if inverse is None:
            raise ValueError("inverse_consistency needs the displacement back, got None")
        left, known = round_trip(u, inverse, spacing_mm)
        return (left.square().sum(dim=1) * known).sum() / known.sum().clamp(min=1)


@REGULARIZERS.register("gradient_inverse_consistency")
@dataclass(frozen=True)
class GradientInverseConsistency(Regularizer):
    r"""Mean squared gradient of a round trip's error, :math:`|\nabla(\psi \circ \varphi) - I|_F^2`.

    :math:`\varphi = x + u(x)` maps the fixed to the moving image, :math:`\psi = x + v(x)`, the
    ``inverse``, the moving to the fixed one, both on one grid; *v* is read linearly. On cells of
    forward differences; those with a corner that leaves the grid do not count. A constant error
    is free: the pair may drift while it is found, and the gradient acts only where maps fold or
    disagree in shape, which regularises both without naming a smoothness. Unit: (mm/mm)^2.
    ``tissue`` is not used.

    For synthetic CT: one strength for all regions and modalities, as the paper reports it.

    Acts at ``displacement``; needs a second field.

    References
    ----------
    Tian, Greer, Vialard, Kwitt, Estepar, Rushmore, Makris, Bouix & Niethammer, GradICON:
    Approximate diffeomorphisms via gradient inverse consistency, CVPR 2023, arXiv:2206.05897.
    """

    needs_inverse: ClassVar[bool] = True

    def displacement(
        self,
        u: Tensor,
        spacing_mm: Spacing,
        tissue: Tensor | None = None,
        inverse: Tensor | None = None,
    ) -> Tensor:
        """Penalise ``u`` and ``inverse``, both (B, 3, Z, Y, X) [mm]; a scalar [1]."""
        if inverse is None:
            raise ValueError("gradient_inverse_consistency needs the displacement back, got None")
        left, at = round_trip(u, inverse, spacing_mm)
        whole = cells(at) & at[..., 1:, :-1, :-1] & at[..., :-1, 1:, :-1] & at[..., :-1, :-1, 1:]
        z, y, x = gradient(left, spacing_mm)
        squared = (z.square() + y.square() + x.square()).sum(dim=1)
        return (squared * whole).sum() / whole.sum().clamp(min=1)
