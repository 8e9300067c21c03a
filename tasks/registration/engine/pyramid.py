"""Resolution levels of an image, and resampling of displacements between them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.fields.derivatives import Spacing
from synthct.tasks.fields.warping import look_up
from synthct.tasks.registration.contracts import Level

MIN_VOXELS = 8
"""Minimum length of an axis: penalties and windows are meaningless on fewer [voxels]."""


def levels(shape: Sequence[int], spacing_mm: Spacing, factors: Sequence[float]) -> list[Level]:
    """The level of each factor, in the order given.

    A level's voxels are blocks of whole voxels, as close as possible to cubes of ``factor`` times
    the smallest spacing: in-plane pixels are averaged first, up to the slice thickness.
    """
    return [_level(shape, spacing_mm, factor) for factor in factors]


def _level(shape: Sequence[int], spacing_mm: Spacing, factor: float) -> Level:
    side = factor * min(spacing_mm)
    blocks = [
        min(max(1, round(side / h)), max(1, n // MIN_VOXELS))
        for n, h in zip(shape, spacing_mm, strict=True)
    ]
    count = [n // k for n, k in zip(shape, blocks, strict=True)]
    step = [h * k for h, k in zip(spacing_mm, blocks, strict=True)]
    first = [h * (k - 1) / 2 for h, k in zip(spacing_mm, blocks, strict=True)]
    return Level(
        (count[0], count[1], count[2]),
        (step[0], step[1], step[2]),
        (first[0], first[1], first[2]),
        factor,
    )


def refined(level: Level, spacing_mm: Spacing, times: int) -> Level:
    """The level with each voxel subdivided into about ``times`` along each axis.

    The parts are whole voxels of the finest grid (``spacing_mm``) and do not cross the level's
    voxels; an axis that would need more than twice as many parts is left unchanged.
    """
    blocks = [round(b / a) for a, b in zip(spacing_mm, level.spacing_mm, strict=True)]
    pieces = [
        next((d for d in range(times, 2 * times + 1) if k % d == 0), k if k < times else 1)
        for k in blocks
    ]
    kept = [k // d for k, d in zip(blocks, pieces, strict=True)]
    count = [n * d for n, d in zip(level.shape, pieces, strict=True)]
    step = [h * k for h, k in zip(spacing_mm, kept, strict=True)]
    first = [h * (k - 1) / 2 for h, k in zip(spacing_mm, kept, strict=True)]
    return Level(
        (count[0], count[1], count[2]),
        (step[0], step[1], step[2]),
        (first[0], first[1], first[2]),
        level.factor / times,
    )


def coarsened(image: Tensor, level: Level) -> Tensor:
    """Block means on the level's grid of an image (1, C, Z, Y, X) on a finer grid."""
    blocks = [n // m for n, m in zip(image.shape[2:], level.shape, strict=True)]
    d, h, w = level.shape
    return functional.avg_pool3d(image, blocks, stride=blocks)[..., :d, :h, :w]


def carried(u: Tensor, old: Level, new: Level, slices: tuple[int, int] | None = None) -> Tensor:
    """A level's displacement (1, 3, Z, Y, X) [mm], linearly interpolated on another level's grid.

    ``slices``: only slices from the first up to, but excluding, the second.
    """
    axes = []
    for a in range(3):
        at = torch.arange(new.shape[a], dtype=u.dtype, device=u.device) * new.spacing_mm[a]
        axes.append((at + new.offset_mm[a] - old.offset_mm[a]) / old.spacing_mm[a])
    if slices is not None:
        axes[0] = axes[0][slice(*slices)]
    return look_up(u, torch.stack(torch.meshgrid(*axes, indexing="ij"))[None])
