"""Where the windows of a sliding window lie, and how much each voxel of a window counts."""

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

LEAST_WEIGHT = 1e-3
"""Floor of the product over the axes, as MONAI's: where only corners of windows meet, they count
the same. A floor on each axis differs from it by tens of HU where windows disagree."""


Box = tuple[slice, slice, slice]
"""Part of an array (z, y, x)."""


@dataclass(frozen=True)
class AxisWindows:
    """Windows along one axis.

    A window longer than the axis sticks out on both sides (negative start); what sticks out is
    read by repeating the edge voxel and its result is dropped.
    """

    length: int
    size: int
    starts: tuple[int, ...]

    def inside(self, window: int) -> tuple[slice, slice]:
        """Where the window lies on the axis, and which part of the window that is."""
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

    ``x_a`` is the distance from the window's middle along axis ``a`` of ``n_a`` voxels. The same
    map as MONAI's ``compute_importance_map(mode="gaussian")``; a voxel's answer is the mean over
    the windows that hold it, weighted with it.
    """
    bells = []
    for size in sizes:
        offset = np.arange(size) - (size - 1) / 2
        bells.append(np.exp(-0.5 * (offset / (SIGMA * size)) ** 2))
    whole: NDArray[np.float64] = reduce(np.multiply.outer, bells)
    return np.maximum(whole, LEAST_WEIGHT, dtype=np.float64).astype(np.float32)


@dataclass(frozen=True)
class Windows:
    """The windows of a scan, in the order in which slices are finished: z slowest.

    2.5-D is the case of windows one slice thick that see ``slices`` neighbours as channels.
    """

    axes: tuple[AxisWindows, AxisWindows, AxisWindows]
    slices: int
    flat: bool

    def needed(self, mask: NDArray[Any]) -> list[tuple[int, int, int]]:
        """Windows (numbers along z, y, x) that hold any voxel of the mask.

        Leaving out the others is exact: a voxel of the mask lies in no window that is left out.
        """
        z, y, x = (range(len(axis.starts)) for axis in self.axes)
        return [window for window in product(z, y, x) if np.any(mask[self.place(window)[0]])]

    def place(self, window: tuple[int, int, int]) -> tuple[Box, Box]:
        """Slices into the scan, and the slices into the window that they correspond to."""
        z, y, x = (axis.inside(number) for axis, number in zip(self.axes, window, strict=True))
        return (z[0], y[0], x[0]), (z[1], y[1], x[1])

    @cached_property
    def weight(self) -> NDArray[np.float32]:
        """Blending weight of the voxels (z, y, x) of any window."""
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
    """Voxels from index ``start``, ``size`` of them; edge voxels are repeated outside.

    Training patches that stick out of the scan, and the neighbours of its first and last slice,
    are read with this too, so that the network meets nothing new when it is released.
    """
    ranges = [
        np.clip(np.arange(low, low + count), 0, length - 1)
        for low, count, length in zip(start, size, array.shape, strict=True)
    ]
    return np.asarray(array[np.ix_(*ranges)])


def plan_windows(shape: tuple[int, int, int], model: ModelDescription, overlap: float) -> Windows:
    """Windows of the model's patch size over a scan (Z, Y, X).

    Along an axis shorter than the patch the window sticks out as training's patches do: what a
    network normalises over its instance hangs on how much of a window is repeated edge, and
    smaller windows than those it learned from doubled the error of scans below the patch size.
    """
    flat = model.dimensions == "2.5d"
    sizes = (1, *model.patch_size) if flat else model.patch_size
    z, y, x = (
        axis_windows(length, size, overlap) for length, size in zip(shape, sizes, strict=True)
    )
    return Windows((z, y, x), model.slices, flat)
