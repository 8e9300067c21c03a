r"""A differentiable cone-beam projector in torch: line integrals and their exact adjoint.

Each ray is sampled on planes perpendicular to the central ray and the volume is read by trilinear
interpolation, so the projection is linear in the volume. :func:`back_project` is its transpose
(not its inverse): both are autograd functions whose gradients are each other, view by view, so
neither keeps more than one view's samples in memory and both can be differentiated again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthct.data.volume import Grid


@dataclass(frozen=True)
class ConeBeam:
    """A circular cone-beam orbit around the z axis through ``isocentre_mm``.

    At angle 0 the source is in front of the patient (-y); it moves towards the left (+x). The
    detector's columns u run perpendicular to the ray in the orbit plane, its rows v along z.

    Parameters
    ----------
    angles_rad
        One per view.
    detector_shape
        Pixels (rows V, columns U).
    pixel_mm
        Pixel size (v, u) on the detector.
    source_axis_mm, source_detector_mm
        Distances from the source (1000 and 1500 on most linear accelerators).
    isocentre_mm
        Point on the rotation axis (z, y, x).
    detector_shift_mm
        Position (v, u) of the detector's middle, 0 where the central ray meets it: a half-fan
        scan has its detector shifted along u.
    """

    angles_rad: tuple[float, ...]
    detector_shape: tuple[int, int]
    pixel_mm: tuple[float, float]
    source_axis_mm: float = 1000.0
    source_detector_mm: float = 1500.0
    isocentre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    detector_shift_mm: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not 0 < self.source_axis_mm < self.source_detector_mm:
            raise ValueError(
                f"distances of axis and detector are {self.source_axis_mm} and "
                f"{self.source_detector_mm} mm; the axis lies between source and detector"
            )
        if min(self.detector_shape) < 1 or min(self.pixel_mm) <= 0 or not self.angles_rad:
            raise ValueError(
                f"the detector has {self.detector_shape} pixels of {self.pixel_mm} mm and "
                f"{len(self.angles_rad)} views; it needs pixels and views"
            )

    @property
    def sinogram_shape(self) -> tuple[int, int, int]:
        """(views, V, U)."""
        return len(self.angles_rad), *self.detector_shape

    def offsets_mm(self, axis: int) -> Tensor:
        """Pixel centres along v (0) or u (1) on the detector [mm], 0 at the central ray."""
        count, size = self.detector_shape[axis], self.pixel_mm[axis]
        centred = (torch.arange(count, dtype=torch.float32) - (count - 1) / 2) * size
        return centred + self.detector_shift_mm[axis]


def full_circle(views: int) -> tuple[float, ...]:
    """``views`` equally spaced angles over 360 degrees [rad]."""
    return tuple(2 * math.pi * view / views for view in range(views))


def covering(
    views: int,
    *,
    diameter_mm: float,
    height_mm: float,
    pixel_mm: float,
    source_axis_mm: float = 1000.0,
    source_detector_mm: float = 1500.0,
) -> ConeBeam:
    """An orbit whose detector just sees a cylinder of the given diameter and height.

    ``pixel_mm`` is the pixel's size at the isocentre.
    """
    zoom = source_detector_mm / source_axis_mm
    radius = diameter_mm / 2
    half_u = source_detector_mm * math.tan(math.asin(radius / source_axis_mm))
    half_v = height_mm / 2 * source_detector_mm / (source_axis_mm - radius)
    size = pixel_mm * zoom
    shape = 2 * math.ceil(half_v / size), 2 * math.ceil(half_u / size)
    return ConeBeam(full_circle(views), shape, (size, size), source_axis_mm, source_detector_mm)


def forward_project(
    volume: Tensor, grid: Grid, geometry: ConeBeam, step_mm: float | None = None
) -> Tensor:
    """Line integrals (C, views, V, U) of a volume (C, Z, Y, X) [1/mm] on an axes-aligned grid.

    Outside the grid the volume is zero. ``step_mm`` is the distance of the sampling planes along
    the central ray, the smallest voxel side if left out.
    """
    return _Forward.apply(volume, _Rays(grid, geometry, step_mm))  # type: ignore[no-any-return]


def back_project(
    projections: Tensor, grid: Grid, geometry: ConeBeam, step_mm: float | None = None
) -> Tensor:
    """The transpose of :func:`forward_project`: (C, views, V, U) -> (C, Z, Y, X)."""
    return _Transpose.apply(projections, _Rays(grid, geometry, step_mm))  # type: ignore[no-any-return]


class _Rays:
    """Sampling points of the rays of each view."""

    def __init__(self, grid: Grid, geometry: ConeBeam, step_mm: float | None) -> None:
        if not np.allclose(grid.direction, np.eye(3)):
            raise ValueError(
                f"the direction is {grid.direction}; the projector needs axes of the patient"
            )
        self.grid, self.geometry = grid, geometry
        step = step_mm or min(grid.spacing_mm)
        corners = [
            max(abs(start - centre), abs(start + (n - 1) * size - centre)) + size
            for start, n, size, centre in zip(
                grid.origin_mm[1:], grid.shape[1:], grid.spacing_mm[1:],
                geometry.isocentre_mm[1:], strict=True,
            )
        ]  # fmt: skip
        reach = min(math.hypot(*corners), 0.98 * geometry.source_axis_mm)
        count = max(2, math.ceil(2 * reach / step))
        planes = (torch.arange(count, dtype=torch.float32) + 0.5) * (2 * reach / count) - reach
        self.fraction = (geometry.source_axis_mm + planes) / geometry.source_detector_mm
        u, v = geometry.offsets_mm(1), geometry.offsets_mm(0)
        slant = torch.sqrt(u**2 + v[:, None] ** 2 + geometry.source_detector_mm**2)
        self.length_mm = slant / geometry.source_detector_mm * (2 * reach / count)

    def places(self, view: int) -> Tensor:
        """Sampling points of one view in grid_sample's coordinates: (1, planes, V, U, 3)."""
        geometry, t = self.geometry, self.fraction
        angle = geometry.angles_rad[view]
        u, v = geometry.offsets_mm(1), geometry.offsets_mm(0)
        away = geometry.source_axis_mm - t * geometry.source_detector_mm
        cosine, sine = math.cos(angle), math.sin(angle)
        z = t[:, None] * v + geometry.isocentre_mm[0]
        y = -cosine * away[:, None] + sine * t[:, None] * u + geometry.isocentre_mm[1]
        x = sine * away[:, None] + cosine * t[:, None] * u + geometry.isocentre_mm[2]
        z, y, x = (self._normalised(axis, value) for axis, value in enumerate((z, y, x)))
        shape = (len(t), len(v), len(u))
        columns = [x[:, None, :].expand(shape), y[:, None, :].expand(shape)]
        return torch.stack([*columns, z[:, :, None].expand(shape)], dim=-1)[None]

    def _normalised(self, axis: int, value: Tensor) -> Tensor:
        # A voxel more on each side (see read): the edge fades to zero instead of ending.
        count, size = self.grid.shape[axis] + 2, self.grid.spacing_mm[axis]
        return (value - self.grid.origin_mm[axis] + size) / (size * (count - 1)) * 2 - 1

    def read(self, padded: Tensor, view: int) -> Tensor:
        """Line integrals (C, V, U) of one view through a volume padded by one voxel."""
        samples = torch.nn.functional.grid_sample(
            padded[None], self.places(view).to(padded), mode="bilinear", padding_mode="zeros",
            align_corners=True,
        )  # fmt: skip
        return samples[0].sum(1) * self.length_mm.to(padded)

    def spread(self, values: Tensor, view: int, shape: tuple[int, ...]) -> Tensor:
        """The transpose of :meth:`read`: (C, V, U) of one view to a padded volume of the shape.

        The backward of the sampler alone: autograd would first sample a volume of zeros, whose
        values it does not need, because the sampler is linear in the volume.
        """
        places = self.places(view).to(values)
        samples = (values * self.length_mm.to(values))[None, :, None]
        blank = values.new_zeros(()).expand(1, *shape)  # only its shape is read
        bilinear, zeros = 0, 0
        found = torch.ops.aten.grid_sampler_3d_backward(
            samples.expand(-1, -1, places.shape[1], -1, -1), blank, places, bilinear, zeros,
            True, [True, False],
        )  # fmt: skip
        volume: Tensor = found[0][0]
        return volume


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, volume: Tensor, rays: _Rays) -> Tensor:
        ctx.rays = rays
        views = range(len(rays.geometry.angles_rad))
        padded = torch.nn.functional.pad(volume, (1, 1, 1, 1, 1, 1))
        return torch.stack([rays.read(padded, view) for view in views], dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Transpose.apply(gradients[0], ctx.rays), None


class _Transpose(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projections: Tensor, rays: _Rays) -> Tensor:
        ctx.rays = rays
        shape = (projections.shape[0], *(n + 2 for n in rays.grid.shape))
        total = projections.new_zeros(shape)
        for view in range(projections.shape[1]):
            total += rays.spread(projections[:, view], view, shape)
        return total[:, 1:-1, 1:-1, 1:-1].contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Forward.apply(gradients[0], ctx.rays), None
