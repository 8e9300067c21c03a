"""Positions of the windows of a sliding window, and the weights for blending them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.models.description import ModelDescription

SIGMA = 0.125
"""Standard deviation of the blending Gaussian as a fraction of the window (nnU-Net's choice)."""

MIN_WEIGHT = 1e-3
"""Floor of the product over the axes, as in MONAI: corners of windows have equal weights. A floor
for each axis would differ by tens of HU where predictions of windows differ."""


Box = tuple[slice, slice, slice]
"""Part of an array (z, y, x)."""


@dataclass(frozen=True)
class AxisWindows:
    """Windows along one axis.

    A window longer than the axis extends beyond it on both sides (negative start); outside,
    the edge voxel is repeated and the result discarded.

    Parameters
    ----------
    length
        Voxels along the axis.
    size
        Voxels of a window.
    starts
        First voxel of each window.
    """

    length: int
    size: int
    starts: tuple[int, ...]

    def inside(self, window: int) -> tuple[slice, slice]:
        """The part of the axis inside the window, and the part of the window inside the axis."""
        start = self.starts[window]
        low, high = max(0, start), min(self.length, start + self.size)
        return slice(low, high), slice(low - start, high - start)


def axis_windows(length: int, size: int, overlap: float) -> AxisWindows:
    """Windows of ``size`` that cover ``length`` voxels with at least ``overlap`` of a window.

    Every ``int(size (1 - overlap))`` voxels; the last one is shifted back to the edge.
    """
    if size >= length:
        starts = [-((size - length) // 2)]
    else:
        step = max(1, int(size * (1 - overlap)))
        starts = [*range(0, length - size, step), length - size]
    return AxisWindows(length, size, tuple(starts))


def blending(sizes: tuple[int, ...]) -> NDArray[np.float32]:
    r"""Weight of a window's voxels: :math:`\max(\prod_a e^{-x_a^2 / 2 (\sigma n_a)^2}, 10^{-3})`.

    ``x_a`` is the distance from the middle of the window along axis ``a`` of ``n_a`` voxels. The
    same map as MONAI's ``compute_importance_map(mode="gaussian")``; the prediction of a voxel is
    the mean over the windows that contain it, with these weights.
    """
    bells = []
    for size in sizes:
        offset = np.arange(size) - (size - 1) / 2
        bells.append(np.exp(-0.5 * (offset / (SIGMA * size)) ** 2))
    whole: NDArray[np.float64] = reduce(np.multiply.outer, bells)
    return np.maximum(whole, MIN_WEIGHT, dtype=np.float64).astype(np.float32)


@dataclass(frozen=True)
class Windows:
    """The windows of a scan, in the order in which slices are completed: z slowest.

    A 2.5-D window (``flat``) is one slice thick, with ``slices`` neighbours as channels.
    """

    axes: tuple[AxisWindows, AxisWindows, AxisWindows]
    slices: int
    flat: bool

    def needed(self, mask: NDArray[Any]) -> list[tuple[int, int, int]]:
        """Windows (indices along z, y, x) that contain any voxel of the mask.

        Skipping the others is exact: they contain no voxel of the mask.
        """
        z, y, x = (range(len(axis.starts)) for axis in self.axes)
        return [window for window in product(z, y, x) if np.any(mask[self.place(window)[0]])]

    def place(self, window: tuple[int, int, int]) -> tuple[Box, Box]:
        """Slices into the scan, and the corresponding slices into the window."""
        z, y, x = (axis.inside(number) for axis, number in zip(self.axes, window, strict=True))
        return (z[0], y[0], x[0]), (z[1], y[1], x[1])

    @cached_property
    def weight(self) -> NDArray[np.float32]:
        """Blending weight of the voxels (z, y, x) of a window."""
        z, y, x = (axis.size for axis in self.axes)
        return blending((z, y, x))

    def read(self, array: NDArray[Any], window: tuple[int, int, int]) -> NDArray[Any]:
        """The network's input: (channels, Y, X) for 2.5-D, (1, Z, Y, X) for 3-D."""
        start = [axis.starts[number] for axis, number in zip(self.axes, window, strict=True)]
        size = [axis.size for axis in self.axes]
        if self.flat:
            return take(array, (start[0] - self.slices // 2, *start[1:]), (self.slices, *size[1:]))
        return take(array, tuple(start), tuple(size))[None]


def take(array: NDArray[Any], start: tuple[int, ...], size: tuple[int, ...]) -> NDArray[Any]:
    """``size`` voxels from index ``start``; edge voxels are repeated outside.

    Training patches that extend beyond the scan, and the neighbours of its first and last slice,
    are read with this function too, so that training and prediction pad alike.
    """
    ranges = [
        np.clip(np.arange(low, low + count), 0, length - 1)
        for low, count, length in zip(start, size, array.shape, strict=True)
    ]
    return np.asarray(array[np.ix_(*ranges)])


def plan_windows(shape: tuple[int, int, int], model: ModelDescription, overlap: float) -> Windows:
    """Windows of the model's patch size over a scan (Z, Y, X).

    Along an axis shorter than the patch, the window extends beyond the scan as in training:
    instance normalisation depends on how much of a window is repeated edge, and smaller windows
    than in training doubled the error of scans smaller than the patch.
    """
    flat = model.dimensions == "2.5d"
    sizes = (1, *model.patch_size) if flat else model.patch_size
    z, y, x = (
        axis_windows(length, size, overlap) for length, size in zip(shape, sizes, strict=True)
    )
    return Windows((z, y, x), model.slices, flat)
