r"""The known map from the day of an MR or CBCT to the day of the CT.

A point ``x`` of the later day was at ``R(x + v(x))`` on the CT day: ``v`` is a smooth non-rigid
part (breathing, neck flexion, posture, filling), ``R`` the set-up error of a few mm and degrees.
Hence the displacement is ``u(x) = R(x + v(x)) - x`` [mm], exact at every point. ``v`` is a sum of
separable bumps, so it costs little on an axes-aligned grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synthct.data.phantom.shapes import turned
from synthct.data.volume import Displacement, Grid

Array = NDArray[np.float64]

SMALLEST_DETERMINANT = 0.35
"""Tissue is never compressed below this fraction of its volume: the map stays invertible."""


@dataclass(frozen=True, eq=False)
class Bump:
    """``amplitude * prod_i exp(-((x_i - centre_i) / width_i)^2 / 2)``, a vector (z, y, x) [mm]."""

    amplitude: Array
    centre: Array
    width: Array

    def along(self, axis: int, values: Array) -> Array:
        """The factor of one axis."""
        return np.asarray(np.exp(-0.5 * ((values - self.centre[axis]) / self.width[axis]) ** 2))


@dataclass(frozen=True, eq=False)
class Deformation:
    """Point of the later day -> point of the CT day: ``R(x + v(x))``, R = rotation then shift."""

    bumps: Sequence[Bump]
    rotation: Array
    shift_mm: Array

    def bend(self, axes: Sequence[Array]) -> Array:
        """``v`` on the grid spanned by three axes [mm]: (3, Z, Y, X)."""
        shape = tuple(len(axis) for axis in axes)
        if not self.bumps:
            return np.zeros((3, *shape))
        z, y, x = (
            np.stack([bump.along(i, np.asarray(axis)) for bump in self.bumps])
            for i, axis in enumerate(axes)
        )
        planes = (y[:, :, None] * x[:, None, :]).reshape(len(self.bumps), -1)
        amplitudes = np.stack([bump.amplitude for bump in self.bumps], axis=1)
        return np.stack([((z.T * amplitude) @ planes).reshape(shape) for amplitude in amplitudes])

    def points(self, axes: Sequence[Array]) -> Array:
        """CT-day points (3, Z, Y, X) [mm] of the grid spanned by three axes [mm]."""
        moved = self.bend(axes)
        for i, axis in enumerate(axes):
            shape = [1, 1, 1]
            shape[i] = len(axis)
            moved[i] += np.asarray(axis).reshape(shape)
        there = self.rotation @ moved.reshape(3, -1) + self.shift_mm[:, None]
        return np.asarray(there.reshape(moved.shape))

    def displacement(self, grid: Grid) -> Displacement:
        """``u`` on an axes-aligned grid."""
        axes = grid_axes(grid)
        field = self.points(axes)
        for i, axis in enumerate(axes):
            shape = [1, 1, 1]
            shape[i] = len(axis)
            field[i] -= axis.reshape(shape)
        return Displacement(field.astype(np.float32), grid)

    def scaled(self, factor: float) -> Deformation:
        """The same with a non-rigid part ``factor`` times as large."""
        return replace(self, bumps=[replace(b, amplitude=b.amplitude * factor) for b in self.bumps])


def grid_axes(grid: Grid, subsamples: Sequence[int] = (1, 1, 1)) -> list[Array]:
    """Coordinates [mm] of the voxel centres of an axes-aligned grid, or of their subsamples."""
    axes = []
    for start, step, count, parts in zip(
        grid.origin_mm, grid.spacing_mm, grid.shape, subsamples, strict=True
    ):
        place = (np.arange(count * parts) + 0.5) / parts - 0.5
        axes.append(start + place * step)
    return axes


def jacobian_determinant(displacement: Displacement) -> Array:
    """``det(I + du/dx)`` by central differences; 1 is no change of volume, below 0 is folding."""
    gradient = np.empty((3, 3, *displacement.grid.shape))
    for i in range(3):
        slopes = np.gradient(displacement.vectors[i], *displacement.grid.spacing_mm)
        for j in range(3):
            gradient[i, j] = slopes[j] + (i == j)
    return np.asarray(np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1))))


def without_rigid(displacement: Displacement, inside: NDArray[np.bool_]) -> Array:
    """The residual of ``u`` at the points inside after the best rigid fit (Kabsch): (n, 3) [mm]."""
    index = np.argwhere(inside)
    fixed = displacement.grid.points(index)
    moved = fixed + displacement.vectors[:, inside].T.astype(float)
    a, b = fixed - fixed.mean(0), moved - moved.mean(0)
    left, _, right = np.linalg.svd(a.T @ b)
    flip = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    return np.asarray(b - a @ (left @ flip @ right))


def draw_deformation(
    region: str,
    rng: np.random.Generator,
    *,
    grid: Grid,
    body: NDArray[np.bool_],
    mean_mm: float,
    shift_mm: float,
    turn_deg: float,
) -> Deformation:
    """A region-typical deformation whose mean length inside the body is ``mean_mm``.

    The mean is taken after removing the best rigid fit, on ``grid`` where ``body`` holds. The
    length is reduced when reaching it would compress tissue below ``SMALLEST_DETERMINANT``.
    """
    found = Deformation(
        bumps=[*_TYPICAL[region](rng), *_posture(rng, grid)],
        rotation=turned(
            **dict(zip(("z_deg", "y_deg", "x_deg"), rng.normal(0, turn_deg, 3), strict=True))
        ),
        shift_mm=rng.normal(0, shift_mm, 3),
    )
    rest = without_rigid(found.displacement(grid), body)
    found = found.scaled(mean_mm / float(np.linalg.norm(rest, axis=1).mean()))
    while jacobian_determinant(found.displacement(grid)).min() < SMALLEST_DETERMINANT:
        found = found.scaled(0.9)
    return found


def _posture(rng: np.random.Generator, grid: Grid, count: int = 10) -> list[Bump]:
    """Broad random bends: the patient lies a little differently."""
    half = np.asarray(grid.extent_mm) / 2
    return [
        Bump(rng.normal(0, 4.0, 3), rng.uniform(-half, half), rng.uniform(45, 80, 3))
        for _ in range(count)
    ]


def _bump(amplitude: Sequence[float], centre: Sequence[float], width: Sequence[float]) -> Bump:
    return Bump(np.asarray(amplitude, float), np.asarray(centre, float), np.asarray(width, float))


def _breathing(rng: np.random.Generator) -> list[Bump]:
    """The diaphragm rises or falls, strongest over the domes; the front wall follows."""
    depth = float(rng.choice([-1, 1])) * rng.uniform(0.8, 1.2)
    domes = [_bump([15 * depth, 0, 0], [-75, 0, side * 62], [62, 75, 58]) for side in (-1, 1)]
    return [*domes, _bump([0, 5 * depth, 0], [-30, -90, 0], [90, 50, 110])]


def _belly(rng: np.random.Generator) -> list[Bump]:
    """Liver, spleen and kidneys follow the breath; bowel and stomach fill and push."""
    depth = float(rng.choice([-1, 1])) * rng.uniform(0.8, 1.2)
    organs = [
        _bump([15 * depth, 0, 0], [70, 0, -60], [70, 75, 60]),
        _bump([12 * depth, 0, 0], [70, 5, 75], [65, 70, 55]),
        _bump([0, 6 * depth, 0], [0, -85, 0], [95, 50, 90]),
    ]
    filling = [
        _bump(rng.normal(0, 6, 3).tolist(), [z, -40, x], [42, 42, 45])
        for z, x in ((-70, -50), (-70, 50), (10, 40), (-20, -70))
    ]
    return [*organs, *filling]


def _flexion(rng: np.random.Generator) -> list[Bump]:
    """The neck bends and turns below a skull that moves nearly as one; the jaw opens a little."""
    bend, aside, jaw = rng.normal(0, 1, 3)
    neck = [
        _bump([0, 12 * bend, 9 * aside], [-125, 20, 0], [48, 140, 140]),
        _bump([4 * bend, 0, 0], [-100, 80, 0], [60, 70, 120]),
        _bump([-4 * abs(jaw), 2 * jaw, 0], [-50, -60, 0], [34, 45, 55]),
    ]
    return neck


_TYPICAL: dict[str, Callable[[np.random.Generator], list[Bump]]] = {
    "head-neck": _flexion,
    "thorax": _breathing,
    "abdomen": _belly,
}
