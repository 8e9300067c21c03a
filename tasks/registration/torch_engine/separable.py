"""Filters and splines as one small matrix along each axis."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def separable(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """One matrix (to, from) along each of the axes z, y, x of ``values`` (B, C, Z, Y, X)."""
    along_z, along_y, along_x = matrices
    planes = along_y @ (values @ along_x.T)
    deep: Tensor = along_z @ planes.flatten(3)
    return deep.view(*deep.shape[:3], *planes.shape[3:])
