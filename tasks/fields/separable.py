"""Separable linear operators on volumes: matrices along each axis, and box filters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def separable(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Apply one matrix along each axis of a volume.

    Parameters
    ----------
    values
        (B, C, Z, Y, X).
    matrices
        For the axes z, y, x: shapes (Z', Z), (Y', Y) and (X', X).

    Returns
    -------
    Tensor
        (B, C, Z', Y', X').
    """
    along_z, along_y, along_x = matrices
    planes = along_y @ (values @ along_x.T)
    deep: Tensor = along_z @ planes.flatten(3)
    return deep.view(*deep.shape[:3], *planes.shape[3:])


def box_means(values: Tensor, radii: Sequence[int]) -> Tensor:
    """Means of ``values`` (B, C, Z, Y, X) over boxes of 2r + 1 voxels, with radii (z, y, x).

    Voxels outside the border count as 0, and the divisor is the size of the full box, which makes
    the filter its own transpose. Sums of 1, 2, 4, ... neighbours are combined: the cost is
    logarithmic in the size of the box.
    """
    for axis, radius in enumerate(radii, start=2):
        values = _windows(values, axis, radius) / (2 * radius + 1)
    return values


def _windows(values: Tensor, axis: int, radius: int) -> Tensor:
    count, width = values.shape[axis], 2 * radius + 1
    border = list(values.shape)
    border[axis] = radius
    zeros = values.new_zeros(border)
    sums, length = torch.cat([zeros, values, zeros], dim=axis), 1
    total, taken = None, 0
    while True:
        if width & length:
            part = sums.narrow(axis, taken, count)
            total = part if total is None else total + part
            taken += length
        if taken == width:
            return total if total is not None else values
        left = sums.shape[axis] - length
        sums = sums.narrow(axis, 0, left) + sums.narrow(axis, length, left)
        length *= 2
