"""Differentiable interpolation of images and displacements at displaced points."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.fields.derivatives import Spacing, checked


def displaced_index(u: Tensor, spacing_mm: Spacing) -> Tensor:
    """Continuous voxel indices of ``x + u(x)``: (B, 3, Z, Y, X), order (z, y, x)."""
    checked(u)
    axes = [torch.arange(n, dtype=u.dtype, device=u.device) for n in u.shape[2:]]
    here = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    step = torch.tensor(spacing_mm, dtype=u.dtype, device=u.device).view(3, 1, 1, 1)
    return here + u / step


def inside(index: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Whether the indices (B, 3, ...) are within the voxel centres of a grid; bool (B, ...)."""
    last = torch.tensor([n - 1 for n in shape], dtype=index.dtype, device=index.device)
    last = last.view(3, *(1 for _ in index.shape[2:]))
    return ((index >= 0) & (index <= last)).all(dim=1)


def look_up(values: Tensor, index: Tensor) -> Tensor:
    """Trilinear interpolation of ``values`` (B, C, Z, Y, X) at ``index`` (B, 3, ...).

    Outside the grid, the value at the border.
    """
    last = [max(1, n - 1) for n in values.shape[2:]]
    scale = torch.tensor(last, dtype=index.dtype, device=index.device)
    # torch expects (x, y, z) in [-1, 1] on the last axis.
    unit = (index.movedim(1, -1) * (2 / scale) - 1).flip(-1)
    return functional.grid_sample(
        values, unit, mode="bilinear", padding_mode="border", align_corners=True
    )


def round_trip(there: Tensor, back: Tensor, spacing_mm: Spacing) -> tuple[Tensor, Tensor]:
    r"""Displacement of points that are mapped by ``there`` and then by ``back``.

    :math:`r(x) = u(x) + v(x + u(x))` (B, 3, Z, Y, X) [mm] with ``there`` u and ``back`` v on one
    grid, and whether it is known: bool (B, Z, Y, X), false where ``x + u(x)`` is outside the grid.

    Raises
    ------
    ValueError
        If the two have different shapes.
    """
    if there.shape != checked(back).shape:
        raise ValueError(
            f"a displacement and its inverse must share a grid, "
            f"got {tuple(there.shape)} and {tuple(back.shape)}"
        )
    index = displaced_index(there, spacing_mm)
    return there + look_up(back, index), inside(index.detach(), there.shape[2:])
