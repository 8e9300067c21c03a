"""Inverse consistency: whoever goes there and back is where he was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing
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
