"""The label raster that shapes are painted into, in coordinates bent to one patient's build."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthct.data.phantom.shapes import Shape
from synthct.data.phantom.tissues import LABEL
from synthct.data.volume import Grid

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Lumen:
    """The inside of a hollow organ; gas may fill it, over what it holds (``over``)."""

    parts: Sequence[Shape]
    over: tuple[str, ...] = ("bowel_content",)


def smooth_noise(
    rng: np.random.Generator, grid: Grid, correlation_mm: float
) -> NDArray[np.float32]:
    """Gaussian noise on the grid, mean 0, standard deviation 1, smooth over ``correlation_mm``.

    Drawn on a lattice of half the correlation length anchored at the grid's corner and
    interpolated by cubic B-splines, so it costs little and holds no grid direction.
    """
    pitch = correlation_mm / 2
    lattice = [int(np.ceil(length / pitch)) + 6 for length in grid.extent_mm]
    coarse = rng.standard_normal(lattice).astype(np.float32)
    coarse = ndimage.gaussian_filter(coarse, 1.0, mode="wrap")
    coarse /= coarse.std()
    z, y, x = (
        _cubic_weights(2.0 + np.arange(count) * step / pitch, size)
        for count, step, size in zip(grid.shape, grid.spacing_mm, lattice, strict=True)
    )
    lines = (z @ coarse.reshape(lattice[0], -1)).reshape(grid.shape[0], *lattice[1:])
    return np.asarray((y @ lines) @ x.T, dtype=np.float32)


def _cubic_weights(place: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Weights (n, size) of the cubic B-spline's coefficients at ``place``."""
    distance = np.abs(place[:, None] - np.arange(size))
    near = (4 - 6 * distance**2 + 3 * distance**3) / 6
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.asarray(np.where(distance < 1, near, far), dtype=np.float32)


@dataclass
class Canvas:
    """Labels on a raster; later shapes cover earlier ones.

    Parameters
    ----------
    grid
        The raster [mm, LPS], axes aligned.
    rng
        Draws the patient's build: size along each axis, and a smooth bend of all coordinates
        that makes left and right differ.
    bend_mm
        Standard deviation of the bend.
    """

    grid: Grid
    rng: np.random.Generator
    bend_mm: float = 3.0
    size: float = 0.04
    labels: NDArray[np.uint8] = field(init=False)
    ripple: NDArray[np.float32] = field(init=False)
    """Noise of 14 mm correlation that roughens surfaces (``wobble_mm``)."""

    def __post_init__(self) -> None:
        self.labels = np.zeros(self.grid.shape, np.uint8)
        self.ripple = smooth_noise(self.rng, self.grid, 14.0)
        scale = self.rng.uniform(1 - self.size, 1 + self.size, 3)
        self._axes = [
            (self.grid.origin_mm[i] + np.arange(n) * self.grid.spacing_mm[i]) / scale[i]
            for i, n in enumerate(self.grid.shape)
        ]
        shapes = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
        self._points = [
            axis.astype(np.float32).reshape(shape)
            + self.bend_mm * smooth_noise(self.rng, self.grid, 90.0)
            for axis, shape in zip(self._axes, shapes, strict=True)
        ]
        self._reach = [
            float(np.abs(bent - axis.reshape(shape)).max())
            for bent, axis, shape in zip(self._points, self._axes, shapes, strict=True)
        ]

    def window(self, shape: Shape, margin_mm: float = 0.0) -> Slices | None:
        """The part of the raster that the shape can cover; None when it lies outside."""
        found = []
        for axis, low, high, reach in zip(
            self._axes, shape.low, shape.high, self._reach, strict=True
        ):
            pad = reach + margin_mm
            start, stop = np.searchsorted(axis, [low - pad, high + pad])
            if start >= stop:
                return None
            found.append(slice(int(start), int(stop)))
        return found[0], found[1], found[2]

    def depth(self, shape: Shape, window: Slices, wobble_mm: float = 0.0) -> NDArray[np.float32]:
        """Depth [mm] of the raster's points in the window."""
        z, y, x = (points[window] for points in self._points)
        depth = shape.depth(z, y, x)
        return depth + wobble_mm * self.ripple[window] if wobble_mm else depth

    def paint(
        self,
        shapes: Shape | Iterable[Shape],
        tissue: str | Mapping[str, float],
        *,
        over: Collection[str] | None = None,
        wobble_mm: float = 0.0,
    ) -> None:
        """Paint shapes with a tissue, or with layers ``{tissue: depth from which it starts}``.

        ``over`` names the tissues that may be covered (all, if left out). Layers of several
        shapes melt: all outer layers are painted before the inner ones.
        """
        layers = {tissue: 0.0} if isinstance(tissue, str) else tissue
        parts = [shapes] if isinstance(shapes, Shape) else list(shapes)
        allowed = None if over is None else _lookup([*over, *layers])
        placed = [(part, self.window(part, 2 * wobble_mm)) for part in parts]
        depths = [
            (window, self.depth(part, window, wobble_mm)) for part, window in placed if window
        ]
        for name, start in layers.items():
            for window, depth in depths:
                inside = depth > start
                view = self.labels[window]
                if allowed is not None:
                    inside &= allowed[view]
                view[inside] = LABEL[name]

    def speckle(
        self,
        noise: NDArray[np.float32],
        threshold: float,
        tissue: str,
        *,
        over: Sequence[str],
        within: Shape | None = None,
    ) -> None:
        """Paint where noise exceeds a threshold inside given tissues (septa, air cells, sulci)."""
        window = (slice(None), slice(None), slice(None)) if within is None else self.window(within)
        if window is None:
            return
        view = self.labels[window]
        inside = (noise[window] > threshold) & _lookup(over)[view]
        if within is not None:
            inside &= self.depth(within, window) > 0
        view[inside] = LABEL[tissue]


def _lookup(tissues: Iterable[str]) -> NDArray[np.bool_]:
    allowed = np.zeros(256, bool)
    allowed[[LABEL[name] for name in tissues]] = True
    return allowed
