"""The pictures of one registered case: CT outlines on the source before and after, Jacobian."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import MachineError
from synthct.data.store.volumes import open_array, read_grid, read_volume
from synthct.data.volume import Displacement, Volume
from synthct.tasks.fields.jacobian import jacobian_determinant
from synthct.tasks.figures.pictures import (
    WINDOWS,
    Codes,
    checkerboard,
    outline_path,
    shrink,
    signed_codes,
    stretch_codes,
    uri,
)
from synthct.tasks.pipeline.artefacts import DISPLACEMENT, MASK, SOURCE
from synthct.tasks.report.strips import source_limits

BODY_HU = -300.0
BONE_HU = 250.0
"""Levels of the CT's outlines: skin, lung and gas; bone."""

PLANES = {"axial": 0, "coronal": 1}
"""The planes shown, and the array axis perpendicular to each."""


@dataclass(frozen=True)
class OverlayTask:
    """Plain data that a worker needs to draw one case."""

    case: str
    registration: str
    pixels: int
    quality: int


@dataclass(frozen=True)
class Outlines:
    """SVG paths [mm] of the CT's skin and bone on the source."""

    body: str
    bone: str


@dataclass(frozen=True)
class Overlay:
    """One plane of one case; pictures are data URIs, all of the same size [mm]."""

    plane: str
    width_mm: float
    height_mm: float
    source: str
    before: Outlines
    after: Outlines
    board: str
    jacobian: str


@dataclass(frozen=True)
class Overlays:
    """All planes of one case."""

    case: str
    planes: tuple[Overlay, ...]


def draw_overlays(order: OverlayTask) -> Overlays:
    """Draw one case; runs on a worker."""
    folder = Path(order.registration)
    source = read_volume(folder / SOURCE)
    mask = np.asarray(read_volume(folder / MASK).array > 0)
    limits = source_limits(source, mask)
    planes = tuple(_draw(order, name, axis, source, mask, limits) for name, axis in PLANES.items())
    return Overlays(order.case, planes)


def _draw(
    order: OverlayTask,
    name: str,
    axis: int,
    source: Volume,
    mask: NDArray[np.bool_],
    limits: tuple[float, float],
) -> Overlay:
    at = middle(mask, axis)
    extent = source.grid.extent_mm
    size_mm = (extent[2], extent[1 if axis == 0 else 0])
    cut = shrink(upright(np.take(source.array, at, axis), axis), order.pixels)
    base = stretch_codes(cut, *limits)
    folder = Path(order.registration)
    before, after = (
        shrink(upright(stored_cut(folder / f"{ct}.zarr", axis, at), axis), order.pixels)
        for ct in ("unregistered_ct", "ct")
    )
    jacobian = jacobian_slice(folder / DISPLACEMENT, axis, at)
    inside = shrink(upright(np.take(mask, at, axis), axis), order.pixels) >= 0.5
    return Overlay(
        plane=name,
        width_mm=size_mm[0],
        height_mm=size_mm[1],
        source=uri(base, order.quality),
        before=_outlines(before, size_mm),
        after=_outlines(after, size_mm),
        board=uri(checkerboard(base, _soft(after)), order.quality),
        jacobian=uri(_jacobian_codes(jacobian, axis, order.pixels), order.quality, inside),
    )


def _outlines(ct: NDArray[np.float32], size_mm: tuple[float, float]) -> Outlines:
    return Outlines(outline_path(ct, BODY_HU, size_mm), outline_path(ct, BONE_HU, size_mm))


def _soft(ct: NDArray[np.float32]) -> Codes:
    """Grey codes of the CT in the soft tissue window, to alternate with those of the source."""
    _, low, high = WINDOWS["soft"]
    return stretch_codes(ct, low, high)


def stored_cut(url: Path, axis: int, at: int) -> NDArray[Any]:
    """One cut through a stored volume; only its chunks are read, and their checksums verified.

    Raises
    ------
    MachineError
        A chunk is damaged.
    """
    window = tuple(at if other == axis else slice(None) for other in range(3))
    return _read(url, window)


def _read(url: Path, window: tuple[slice | int, ...]) -> NDArray[Any]:
    try:
        return np.asarray(open_array(url)[window])
    except ValueError as error:  # zarr's error for a chunk with a wrong checksum
        raise MachineError(
            f"the stored volume is damaged: {error}",
            where=str(url),
            remedy="delete the volume and run the stage that writes it again",
            code="store-damaged",
        ) from error


def upright(cut: NDArray[Any], axis: int) -> NDArray[Any]:
    """A cut with the head (coronal, sagittal) or the front (axial) of the patient at the top."""
    return cut if axis == 0 else cut[::-1]


def middle(mask: NDArray[np.bool_], axis: int) -> int:
    """Index along ``axis`` that halves the mask's volume; the array's middle without a mask."""
    others = tuple(other for other in range(3) if other != axis)
    weight = np.cumsum(mask.sum(axis=others))
    if weight[-1] == 0:
        return int(mask.shape[axis]) // 2
    return int(np.argmax(weight >= weight[-1] / 2))


def jacobian_slice(url: Path, axis: int, at: int) -> NDArray[np.float64]:
    r"""Determinant of :math:`I + \nabla u` on one cut through a displacement (3, Z, Y, X) [mm].

    The field maps fixed to moving points: above 1 the CT is compressed, below 1 it is stretched,
    at or below 0 it folds. Only the cut and its neighbours are read; central differences [mm/mm],
    one-sided at the border.
    """
    grid = read_grid(url)
    start, stop = [0, 0, 0], list(grid.shape)
    start[axis], stop[axis] = max(0, at - 1), min(grid.shape[axis], at + 2)
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    vectors = np.asarray(_read(url, (slice(None), *window)), dtype=np.float32)
    slab = Displacement(vectors, grid.crop(_triple(start), _triple(stop)))
    return np.asarray(np.take(jacobian_determinant(slab), at - start[axis], axis))


def _triple(values: list[int]) -> tuple[int, int, int]:
    a, b, c = values
    return a, b, c


def _jacobian_codes(values: NDArray[np.float64], axis: int, pixels: int) -> Codes:
    """Codes of log2 of the determinant from 0.5 to 2; folds are at the low end."""
    logs = np.log2(np.clip(upright(values, axis), 0.5, 2.0))
    return signed_codes(shrink(logs, pixels), 1.0)
