"""Finite differences of a displacement, divided by the spacing.

A displacement ``u`` is (B, 3, Z, Y, X) in mm; component ``i`` points along array axis ``i``, in
the order (z, y, x). Differences use no padding, so that each is exact for every affine field up
to the border, whatever the spacing. They are taken at two kinds of points:

* *edges*: between two neighbours along one axis, with a set of edges for each axis; for sums whose
  terms need not be at the same point; all voxels are treated alike;
* *cells*: all forward differences at a voxel (z, y, x), (Z-1, Y-1, X-1) of them; for products of
  derivatives. Forward differences detect a checkerboard, which central differences do not.
"""

from __future__ import annotations

import torch
from torch import Tensor

Spacing = tuple[float, float, float]
"""Distance of voxel centres (z, y, x) [mm]."""

Three = tuple[Tensor, Tensor, Tensor]
"""One tensor for each axis (z, y, x)."""


def checked(u: Tensor, voxels: int = 2) -> Tensor:
    """Return ``u`` if it is a displacement (B, 3, Z, Y, X) with enough voxels along each axis.

    Raises
    ------
    ValueError
        If its shape is another, or it has less than ``voxels`` along an axis.
    """
    if u.ndim != 5 or u.shape[1] != 3:
        raise ValueError(f"a displacement must be (B, 3, Z, Y, X), got shape {tuple(u.shape)}")
    if min(u.shape[2:]) < voxels:
        raise ValueError(
            f"a displacement must have {voxels} voxels along each axis, got {tuple(u.shape[2:])}"
        )
    return u


def edges(u: Tensor, axis: int, spacing_mm: Spacing) -> Tensor:
    """First differences of all components along ``axis`` (0 = z), one shorter along it [1]."""
    return torch.diff(checked(u), dim=axis + 2) / spacing_mm[axis]


def gradient(u: Tensor, spacing_mm: Spacing) -> Three:
    r""":math:`\partial u / \partial z, \partial u / \partial y, \partial u / \partial x` on cells.

    Each is (B, 3, Z-1, Y-1, X-1): column ``j`` of the displacement's gradient.
    """
    here = cells(checked(u))
    z, y, x = spacing_mm
    return (
        (u[..., 1:, :-1, :-1] - here) / z,
        (u[..., :-1, 1:, :-1] - here) / y,
        (u[..., :-1, :-1, 1:] - here) / x,
    )


def cells(values: Tensor) -> Tensor:
    """The values (..., Z, Y, X) at the first voxel of each cell, (..., Z-1, Y-1, X-1)."""
    return values[..., :-1, :-1, :-1]


def divergence(u: Tensor, spacing_mm: Spacing) -> Tensor:
    r""":math:`\nabla \cdot u` on cells, (B, Z-1, Y-1, X-1) [1]."""
    here = cells(checked(u))
    z, y, x = spacing_mm
    return (
        (u[:, 0, 1:, :-1, :-1] - here[:, 0]) / z
        + (u[:, 1, :-1, 1:, :-1] - here[:, 1]) / y
        + (u[:, 2, :-1, :-1, 1:] - here[:, 2]) / x
    )


def determinant(u: Tensor, spacing_mm: Spacing) -> Tensor:
    r""":math:`\det(I + \nabla u)` on cells, (B, Z-1, Y-1, X-1) [1]: the local volume ratio."""
    one = torch.eye(3, dtype=u.dtype, device=u.device).view(3, 1, 3, 1, 1, 1)
    columns = [slope + unit for slope, unit in zip(gradient(u, spacing_mm), one, strict=True)]
    area: Tensor = torch.linalg.cross(columns[1], columns[2], dim=1)
    volume: Tensor = (columns[0] * area).sum(dim=1)
    return volume


def second(u: Tensor, first_axis: int, second_axis: int, spacing_mm: Spacing) -> Tensor:
    """Second derivative of all components along two axes [1/mm].

    Along one axis twice: (1, -2, 1), two voxels shorter along it. Along two axes: the four
    corners of a face, one voxel shorter along both.
    """
    checked(u, 3 if first_axis == second_axis else 2)
    once = torch.diff(u, dim=first_axis + 2)
    twice = torch.diff(once, dim=second_axis + 2)
    return twice / (spacing_mm[first_axis] * spacing_mm[second_axis])


def laplacian(u: Tensor, spacing_mm: Spacing) -> Tensor:
    """Sum of the unmixed second derivatives at interior voxels, (B, 3, Z-2, Y-2, X-2) [1/mm]."""
    middle = checked(u, 3)[..., 1:-1, 1:-1, 1:-1]
    z, y, x = spacing_mm
    return (
        (u[..., 2:, 1:-1, 1:-1] + u[..., :-2, 1:-1, 1:-1] - 2 * middle) / z**2
        + (u[..., 1:-1, 2:, 1:-1] + u[..., 1:-1, :-2, 1:-1] - 2 * middle) / y**2
        + (u[..., 1:-1, 1:-1, 2:] + u[..., 1:-1, 1:-1, :-2] - 2 * middle) / x**2
    )
