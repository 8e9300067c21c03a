"""Inverse consistency: a displacement followed by its inverse is the identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, cells, gradient
from synthct.tasks.fields.warping import round_trip
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer


class RoundTrip(Regularizer):
    """A penalty on the error of a displacement that is followed by its inverse."""

    needs_inverse: ClassVar[bool] = True

    def displacement(
        self,
        u: Tensor,
        spacing_mm: Spacing,
        tissue: Tensor | None = None,
        inverse: Tensor | None = None,
    ) -> Tensor:
        """Penalise ``u`` and ``inverse``, both (B, 3, Z, Y, X) [mm]; a scalar."""
        if inverse is None:
            raise ValueError(f"{type(self).__name__} needs the inverse displacement, got None")
        return self.cost(*round_trip(u, inverse, spacing_mm), spacing_mm)

    def cost(self, error: Tensor, known: Tensor, spacing_mm: Spacing) -> Tensor:
        """Penalise ``error`` (B, 3, Z, Y, X) [mm] where it is ``known`` (B, Z, Y, X); a scalar."""
        raise NotImplementedError


@REGULARIZERS.register("inverse_consistency")
@dataclass(frozen=True)
class InverseConsistency(RoundTrip):
    r"""Mean squared error of a round trip, :math:`|u(x) + v(x + u(x))|^2`.

    *u* maps the fixed to the moving image, *v*, the ``inverse``, the moving to the fixed one,
    both on one grid; *v* is interpolated linearly, and points outside the grid do not count. Swap
    the two for the other direction. Unit: mm^2. ``tissue`` is not used.

    For synthetic CT: CT to MR and MR to CT must agree, else a score depends on which image was
    fixed.

    Acts at ``displacement``; needs a second field.

    References
    ----------
    Christensen & Johnson, Consistent image registration, IEEE Trans. Med. Imaging 20 (2001)
    568-582.
    """

    def cost(self, error: Tensor, known: Tensor, spacing_mm: Spacing) -> Tensor:
        """Mean squared error [mm^2]."""
        return (error.square().sum(dim=1) * known).sum() / known.sum().clamp(min=1)


@REGULARIZERS.register("gradient_inverse_consistency")
@dataclass(frozen=True)
class GradientInverseConsistency(RoundTrip):
    r"""Mean squared gradient of a round trip's error, :math:`|\nabla(\psi \circ \varphi) - I|_F^2`.

    :math:`\varphi = x + u(x)` maps the fixed to the moving image, :math:`\psi = x + v(x)`, the
    ``inverse``, the moving to the fixed one, both on one grid; *v* is interpolated linearly. The
    gradient is taken on cells of forward differences; those with a corner outside the grid do not
    count. A constant error has no cost. The penalty acts only where the maps fold or are not
    inverse in shape, which regularises both without an explicit smoothness. Unit: (mm/mm)^2.
    ``tissue`` is not used.

    For synthetic CT: the paper uses one strength for all regions and modalities.

    Acts at ``displacement``; needs a second field.

    References
    ----------
    Tian, Greer, Vialard, Kwitt, Estepar, Rushmore, Makris, Bouix & Niethammer, GradICON:
    Approximate diffeomorphisms via gradient inverse consistency, CVPR 2023, arXiv:2206.05897.
    """

    def cost(self, error: Tensor, known: Tensor, spacing_mm: Spacing) -> Tensor:
        """Mean squared gradient of the error [1]."""
        ahead = known[..., 1:, :-1, :-1] & known[..., :-1, 1:, :-1] & known[..., :-1, :-1, 1:]
        complete = cells(known) & ahead
        z, y, x = gradient(error, spacing_mm)
        squared = (z.square() + y.square() + x.square()).sum(dim=1)
        return (squared * complete).sum() / complete.sum().clamp(min=1)
